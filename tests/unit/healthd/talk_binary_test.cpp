// HC-3: MySQL, PostgreSQL, LDAP and gRPC against scripted servers; their logins against values known from elsewhere.
#include <algorithm>

#include "healthd/talk/feedback.hpp"
#include "healthd/talk/protocols.hpp"
#include "healthd/talk/scram.hpp"
#include "tests/unit/healthd/talk_peer.hpp"

namespace lbcluster::health::testing {
namespace {

class Binaries : public ::testing::TestWithParam<Case> {};
TEST_P(Binaries, Scripted) { expect_stream(GetParam()); }

// ---- MySQL ----

std::string mysql_packet(std::uint8_t sequence, const std::string& payload) {
    std::string out{static_cast<char>(payload.size()), static_cast<char>(payload.size() >> 8U), '\0',
                    static_cast<char>(sequence)};
    return out + payload;
}
std::string mysql_greeting(const std::string& plugin, bool tls = false) {
    const std::string low = tls ? "\xff\xff"s : "\xff\xf7"s;
    return mysql_packet(0, "\x0a"s + "8.0.36\0"s + "\x01\x02\x03\x04" + "abcdefgh" + "\0"s + low + "\x21\x02\0"s +
                               "\xff\xdf" + "\x15" + std::string(10, '\0') + "0123456789AB\0"s + plugin + "\0"s);
}
std::string mysql_error(std::uint8_t sequence, unsigned code, const std::string& text) {
    return mysql_packet(sequence, "\xff"s + static_cast<char>(code & 0xffU) + static_cast<char>(code >> 8U) + text);
}
std::string mysql_login(std::uint8_t sequence, const std::string& flags, const std::string& user,
                        const std::string& proof, const std::string& rest) {
    return mysql_packet(sequence, flags + "\x00\x40\x00\x00\x21"s + std::string(23, '\0') + user + "\0"s +
                                      static_cast<char>(proof.size()) + proof + rest);
}
const std::string native = "mysql_native_password", caching = "caching_sha2_password";
const std::string plain_flags = "\x01\x82\x08\x00"s, database_flags = "\x09\x82\x08\x00"s,
                  tls_flags = "\x01\x8a\x08\x00"s;
// Of the password s3cret and the nonce abcdefgh0123456789AB, computed with Python's hashlib.
const std::string native_proof = unhex("32d6ac1fe5d30cdf8761190acfddd248337cd85e");
const std::string caching_proof = unhex("1dbba553f25da63dc22e93ccd098531665d3b84d14618415731445ae38ca1b18");
const std::string mysql_ok = "\0\0\0\x02\0\0\0"s;
const std::string mysql_quit = mysql_packet(0, "\x01");
const std::string mysql_user = "protocol: MYSQL user: \"al\" password: \"s3cret\" ";
const Event caching_login = hears(mysql_login(1, plain_flags, "al", caching_proof, caching + "\0"s));

INSTANTIATE_TEST_SUITE_P(
    Mysql, Binaries,
    ::testing::Values(
        // The login of nobody spares us a block for hanging up.
        Case{"Greets",
             "protocol: MYSQL",
             {says(mysql_greeting(caching)), hears(mysql_login(1, plain_flags, "", "", caching + "\0"s))},
             "up: MySQL: 8.0.36"},
        Case{"TooManyConnections",
             "protocol: MYSQL",
             {says(mysql_error(0, 1040, "Too many connections"))},
             "down: MySQL: 1040 Too many connections"},
        Case{"Blocked",
             "protocol: MYSQL",
             {says(mysql_error(0, 1129, "Host '10.0.0.9' is blocked"))},
             "down: MySQL: 1129 Host '10.0.0.9' is blocked"},
        Case{"Native",
             mysql_user + "database: \"shop\"",
             {says(mysql_greeting(native)),
              hears(mysql_login(1, database_flags, "al", native_proof, "shop\0"s + native + "\0"s)),
              says(mysql_packet(2, mysql_ok)), hears(mysql_quit)},
             "up: MySQL: 8.0.36, logged in"},
        Case{"FastCaching",
             mysql_user,
             {says(mysql_greeting(caching)), caching_login,
              says(mysql_packet(2, "\x01\x03") + mysql_packet(3, mysql_ok)), hears(mysql_quit)},
             "up: MySQL: 8.0.36, logged in"},
        Case{"FullCachingInTheClear",
             mysql_user,
             {says(mysql_greeting(caching)), caching_login, says(mysql_packet(2, "\x01\x04"))},
             "down: MySQL: caching_sha2_password wants the whole password, which is sent only with TLS*"},
        Case{"FullCachingInTls",
             mysql_user + "tls {starttls: true}",
             {says(mysql_greeting(caching, true)),
              hears(mysql_packet(1, tls_flags + "\x00\x40\x00\x00\x21"s + std::string(23, '\0'))), tls(),
              hears(mysql_login(2, tls_flags, "al", caching_proof, caching + "\0"s)), says(mysql_packet(3, "\x01\x04")),
              hears(mysql_packet(4, "s3cret\0"s)), says(mysql_packet(5, mysql_ok)), hears(mysql_quit)},
             "up: MySQL: 8.0.36, logged in"},
        Case{"Switches",
             mysql_user,
             {says(mysql_greeting("client_ed25519")),
              hears(mysql_login(1, plain_flags, "al", native_proof, native + "\0"s)),
              says(mysql_packet(2, "\xfe" + caching + "\0abcdefgh0123456789AB\0"s)),
              hears(mysql_packet(3, caching_proof)), says(mysql_packet(4, "\x01\x03") + mysql_packet(5, mysql_ok)),
              hears(mysql_quit)},
             "up: MySQL: 8.0.36, logged in"},
        Case{"SwitchesToCleartext",
             mysql_user,
             {says(mysql_greeting(caching)), caching_login, says(mysql_packet(2, "\xfemysql_clear_password\0"s))},
             "down: MySQL: 8.0.36 asks this user for mysql_clear_password, which this check cannot*"},
        Case{"WrongPassword",
             mysql_user,
             {says(mysql_greeting(caching)), caching_login,
              says(mysql_error(2, 1045, "#28000Access denied for user 'al', password s3cret"))},
             "down: MySQL: 1045 Access denied for user 'al', password ***"},
        Case{"NoTls",
             "protocol: MYSQL tls {starttls: true}",
             {says(mysql_greeting(caching))},
             "down: MySQL: 8.0.36 offers no TLS"},
        Case{"BytesBeforeTls",
             "protocol: MYSQL tls {starttls: true}",
             {says(mysql_greeting(caching, true) + mysql_packet(2, mysql_ok))},
             "*"},
        Case{"SomethingElse", "protocol: MYSQL", {says("SSH-2.0-OpenSSH\r\n")}, "down: MySQL: not MySQL: \"SSH-*"},
        Case{"ShortGreeting",
             "protocol: MYSQL",
             {says(mysql_packet(0,
                                "\x0a"
                                "5.7\0ab"s))},
             "down: MySQL: no greeting of protocol 10*"},
        Case{"Empty",
             "protocol: MYSQL",
             {says(mysql_packet(0, ""))},
             "down: MySQL: empty packet instead of the greeting"},
        Case{"NulInUser",
             "protocol: MYSQL user: \"a\\000root\"",
             {},
             "unusable: MySQL: user, password or database contains NUL, which cannot be sent"}),
    name_of_case);

// ---- PostgreSQL ----

std::string pg(char type, const std::string& body) {
    std::string out(type == '\0' ? 0 : 1, type);
    put_u32(out, static_cast<std::uint32_t>(body.size() + 4));
    return out + body;
}
std::string pg_start(const std::string& user, const std::string& database) {
    return pg('\0', "\0\x03\0\0user\0"s + user + "\0"s + (database.empty() ? "" : "database\0"s + database + "\0"s) +
                        "application_name\0lbcluster\0\0"s);
}
std::string pg_ask(std::uint32_t kind, const std::string& more = "") {
    std::string body;
    put_u32(body, kind);
    return pg('R', body + more);
}
std::string pg_error(const std::string& state, const std::string& text) {
    return pg('E', "SFATAL\0VFATAL\0C"s + state + "\0M"s + text + "\0\0"s);
}
const std::string pg_ready = pg('S',
                                "server_version\0"
                                "15.6\0"s) +
                             pg('K', "\0\0\0\x01\0\0\0\x02"s) + pg('Z', "I");
const std::string pg_user = "protocol: POSTGRESQL user: \"al\" password: \"pencil\" ";

// RFC 7677, 3, with PostgreSQL's empty user. The nonce of 18 bytes is 0xff.. in base64; server's part and proof come
// from a second ScramSha256 whose value RFC 7677's example has proved below.
void fixed_random(std::span<std::uint8_t> bytes) { std::fill(bytes.begin(), bytes.end(), 0xff); }
const std::string scram_nonce(24, '/');
const std::string scram_server_first = "r=" + scram_nonce + "server,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
std::string scram_client_final() {
    ScramSha256 client("", "pencil", scram_nonce);
    return *client.client_final(scram_server_first);
}
std::string scram_signature() {
    // Written out again, as the server would do it.
    std::string key = hmac_sha256("pencil", from_base64("W22ZaJ0SNY7soEsUEjb6gQ==", 64) + "\0\0\0\x01"s);
    std::string salted = key;
    for (int i = 1; i < 4096; ++i) salted = xor_bytes(salted, key = hmac_sha256("pencil", key));
    const std::string message =
        "n=,r=" + scram_nonce + "," + scram_server_first + ",c=biws,r=" + scram_nonce + "server";
    return "v=" + to_base64(hmac_sha256(hmac_sha256(salted, "Server Key"), message));
}
Maker with_fixed_random() {
    return [](const ProbeSpec& spec) { return make_postgresql_talk(spec, fixed_random); };
}
const Event scram_offer = says(pg_ask(10, "SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"s));
const Event scram_first = hears(pg('p', "SCRAM-SHA-256\0"s + "\0\0\0\x20"s + "n,,n=,r=" + scram_nonce));

INSTANTIATE_TEST_SUITE_P(
    Postgresql, Binaries,
    ::testing::Values(
        Case{"Accepts",
             "protocol: POSTGRESQL",
             {hears(pg_start("lbcluster", "")), says(pg_ask(10, "SCRAM-SHA-256\0\0"s))},
             "up: PostgreSQL: accepts connections"},
        Case{"RefusesButLives",
             "protocol: POSTGRESQL",
             {hears(pg_start("lbcluster", "")), says(pg_error("28000", "no pg_hba.conf entry"))},
             "up: PostgreSQL: 28000 no pg_hba.conf entry"},
        Case{"Starting",
             "protocol: POSTGRESQL",
             {hears(pg_start("lbcluster", "")), says(pg_error("57P03", "the database system is starting up"))},
             "down: PostgreSQL: 57P03 the database system is starting up"},
        Case{"Full",
             "protocol: POSTGRESQL",
             {hears(pg_start("lbcluster", "")), says(pg_error("53300", "sorry, too many clients already"))},
             "down: PostgreSQL: 53300 sorry, too many clients already"},
        Case{"NoDatabase",
             "protocol: POSTGRESQL database: \"shop\"",
             {hears(pg_start("lbcluster", "shop")), says(pg_error("3D000", "database \"shop\" does not exist"))},
             "down: PostgreSQL: 3D000 database \\\"shop\\\" does not exist"},
        Case{"Trusts",
             pg_user + "database: \"shop\"",
             {hears(pg_start("al", "shop")), says(pg_ask(0) + pg_ready), hears(pg('X', ""))},
             "up: PostgreSQL: logged in"},
        Case{"Cleartext",
             pg_user,
             {hears(pg_start("al", "")), says(pg_ask(3)), hears(pg('p', "pencil\0"s)), says(pg_ask(0) + pg_ready),
              hears(pg('X', ""))},
             "up: PostgreSQL: logged in"},
        // Computed with Python's hashlib.
        Case{"Md5",
             "protocol: POSTGRESQL user: \"al\" password: \"s3cret\"",
             {hears(pg_start("al", "")), says(pg_ask(5, "\1\2\3\4")),
              hears(pg('p', "md5898ffd8032abcfedf280f56b5c1b9fbf\0"s)), says(pg_ask(0) + pg_ready), hears(pg('X', ""))},
             "up: PostgreSQL: logged in"},
        Case{"Scram",
             pg_user,
             {hears(pg_start("al", "")), scram_offer, scram_first, says(pg_ask(11, scram_server_first)),
              hears(pg('p', scram_client_final())), says(pg_ask(12, scram_signature()) + pg_ask(0) + pg_ready),
              hears(pg('X', ""))},
             "up: PostgreSQL: logged in",
             with_fixed_random()},
        Case{"ScramWrongSignature",
             pg_user,
             {hears(pg_start("al", "")), scram_offer, scram_first, says(pg_ask(11, scram_server_first)),
              hears(pg('p', scram_client_final())),
              says(pg_ask(12, "v=" + to_base64(std::string(32, 'x'))) + pg_ask(0) + pg_ready)},
             "down: PostgreSQL: SCRAM-SHA-256: the server's signature is wrong*",
             with_fixed_random()},
        Case{"ScramNoSignature",
             pg_user,
             {hears(pg_start("al", "")), scram_offer, scram_first, says(pg_ask(11, scram_server_first)),
              hears(pg('p', scram_client_final())), says(pg_ask(0) + pg_ready)},
             "down: PostgreSQL: SCRAM-SHA-256 ended without a signature",
             with_fixed_random()},
        Case{"ScramOfSomebodyElse",
             pg_user,
             {hears(pg_start("al", "")), scram_offer, scram_first,
              says(pg_ask(11, "r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"))},
             "down: PostgreSQL: SCRAM-SHA-256: the challenge is not for this login (nonce)",
             with_fixed_random()},
        Case{"ScramEndlessWork",
             pg_user,
             {hears(pg_start("al", "")), scram_offer, scram_first,
              says(pg_ask(11, "r=" + scram_nonce + "s,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4000000000"))},
             "down: PostgreSQL: SCRAM-SHA-256: asks for 4000000000 iterations*",
             with_fixed_random()},
        Case{"WrongPassword",
             pg_user,
             {hears(pg_start("al", "")), says(pg_ask(3)), hears(pg('p', "pencil\0"s)),
              says(pg_error("28P01", "not pencil"))},
             "down: PostgreSQL: 28P01 not ***"},
        Case{"Gssapi",
             pg_user,
             {hears(pg_start("al", "")), says(pg_ask(7))},
             "down: PostgreSQL: asks for authentication of kind 7*"},
        Case{"Tls",
             "protocol: POSTGRESQL tls {starttls: true}",
             {hears(unhex("00000008 04d2162f")), says("S"), tls(), hears(pg_start("lbcluster", "")), says(pg_ask(3))},
             "up: PostgreSQL: accepts connections"},
        Case{"NoTls",
             "protocol: POSTGRESQL tls {starttls: true}",
             {hears(unhex("00000008 04d2162f")), says("N")},
             "down: PostgreSQL: the server offers no TLS"},
        Case{"SomethingElse",
             "protocol: POSTGRESQL",
             {hears(pg_start("lbcluster", "")), says("HTTP/1.1 400 no\r\n")},
             "down: PostgreSQL: not PostgreSQL: \"HTTP/*"},
        Case{"MalformedError",
             "protocol: POSTGRESQL",
             {hears(pg_start("lbcluster", "")), says(pg('E', "SFATAL"))},
             "down: PostgreSQL: malformed error*"},
        Case{"NulInDatabase",
             "protocol: POSTGRESQL database: \"a\\000b\"",
             {},
             "unusable: PostgreSQL: user, password or database contains NUL, which cannot be sent"}),
    name_of_case);

TEST(HC3Scram, ExampleOfRfc7677) {
    ScramSha256 client("user", "pencil", "rOprNGfwEbeRWgbNEkqO");
    EXPECT_EQ(client.client_first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    const auto final =
        client.client_final("r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
    ASSERT_TRUE(final);
    EXPECT_EQ(
        *final,
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    EXPECT_TRUE(client.check_server_final("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
    EXPECT_FALSE(client.check_server_final("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
    EXPECT_FALSE(client.check_server_final("e=other-error"));
}

TEST(HC3Scram, MalformedChallenges) {
    for (const char* text : {"", "r=abcd", "r=abcd,s=,i=1", "r=abcd,s=QUJD,i=0", "r=abcd,s=QUJD,i=1x",
                             "r=abcd,s=!!!!,i=1", "m=ext,r=abcd,s=QUJD,i=1", "r=abc,s=QUJD,i=1"}) {
        EXPECT_FALSE(ScramSha256("", "x", "abc").client_final(text)) << text;
    }
}

TEST(HC3Postgresql, BytesBeforeTheHandshakeAreRefused) {
    // CVE-2021-23222
    const Case c{"",
                 "protocol: POSTGRESQL tls {starttls: true}",
                 {hears(unhex("00000008 04d2162f")), says("S" + pg_ask(0))},
                 ""};
    EXPECT_EQ(run(c), "down: PostgreSQL: more bytes before the TLS handshake, as if somebody had put them in");
}

// ---- LDAP ----

std::string tlv(int tag, const std::string& content) {
    return std::string(1, static_cast<char>(tag)) + static_cast<char>(content.size()) + content;
}
std::string ldap(int id, const std::string& operation) {
    return tlv(0x30, tlv(0x02, std::string(1, static_cast<char>(id))) + operation);
}
std::string ldap_result(int tag, int code, const std::string& text = "") {
    return tlv(tag, tlv(0x0a, std::string(1, static_cast<char>(code))) + tlv(0x04, "") + tlv(0x04, text));
}
std::string ldap_bind(int id, const std::string& user, const std::string& password) {
    return ldap(id, tlv(0x60, "\x02\x01\x03"s + tlv(0x04, user) + tlv(0x80, password)));
}
std::string ldap_unbind(int id) { return ldap(id, tlv(0x42, "")); }
const std::string base = "dc=example";
std::string ldap_search(int id) {
    return ldap(id, tlv(0x63, tlv(0x04, base) + "\x0a\x01\x00\x0a\x01\x00\x02\x01\x01\x02\x01\x00\x01\x01\x00"s +
                                  tlv(0x87, "objectClass") + tlv(0x30, tlv(0x04, "1.1"))));
}
const std::string ldap_start_tls = ldap(1, tlv(0x77, tlv(0x80, "1.3.6.1.4.1.1466.20037")));
const std::string ldap_entry = tlv(0x64, tlv(0x04, base) + tlv(0x30, ""));

INSTANTIATE_TEST_SUITE_P(
    Ldap, Binaries,
    ::testing::Values(
        Case{"Anonymous",
             "protocol: LDAP",
             {hears(ldap_bind(1, "", "")), says(ldap(1, ldap_result(0x61, 0))), hears(ldap_unbind(2))},
             "up: LDAP bind: success"},
        Case{"AnonymousRefused",
             "protocol: LDAP",
             {hears(ldap_bind(1, "", "")), says(ldap(1, ldap_result(0x61, 48, "anonymous bind disallowed"))),
              hears(ldap_unbind(2))},
             "up: LDAP: answers, inappropriateAuthentication (48)"},
        Case{"AnonymousButUnavailable",
             "protocol: LDAP",
             {hears(ldap_bind(1, "", "")), says(ldap(1, ldap_result(0x61, 52)))},
             "down: LDAP bind: unavailable (52)"},
        Case{"Simple",
             "protocol: LDAP user: \"cn=al\" password: \"s3cret\"",
             {hears(ldap_bind(1, "cn=al", "s3cret")), says(ldap(1, ldap_result(0x61, 0))), hears(ldap_unbind(2))},
             "up: LDAP bind: success"},
        Case{"WrongPassword",
             "protocol: LDAP user: \"cn=al\" password: \"s3cret\"",
             {hears(ldap_bind(1, "cn=al", "s3cret")), says(ldap(1, ldap_result(0x61, 49, "s3cret is wrong")))},
             "down: LDAP bind: invalidCredentials (49): *** is wrong"},
        Case{"Search",
             "protocol: LDAP request: \"dc=example\"",
             {hears(ldap_bind(1, "", "")), says(ldap(1, ldap_result(0x61, 0))), hears(ldap_search(2)),
              says(ldap(2, ldap_entry) + ldap(2, ldap_result(0x65, 0))), hears(ldap_unbind(3))},
             "up: LDAP search: found dc=example"},
        Case{"NoSuchObject",
             "protocol: LDAP request: \"dc=example\"",
             {hears(ldap_bind(1, "", "")), says(ldap(1, ldap_result(0x61, 0))), hears(ldap_search(2)),
              says(ldap(2, ldap_result(0x65, 32)))},
             "down: LDAP search: noSuchObject (32)"},
        Case{"NoEntry",
             "protocol: LDAP request: \"dc=example\"",
             {hears(ldap_bind(1, "", "")), says(ldap(1, ldap_result(0x61, 0))), hears(ldap_search(2)),
              says(ldap(2, ldap_result(0x65, 0)))},
             "down: LDAP search: no entry dc=example"},
        Case{"StartTls",
             "protocol: LDAP tls {starttls: true}",
             {hears(ldap_start_tls), says(ldap(1, ldap_result(0x78, 0))), tls(), hears(ldap_bind(2, "", "")),
              says(ldap(2, ldap_result(0x61, 0))), hears(ldap_unbind(3))},
             "up: LDAP bind: success"},
        Case{"NoStartTls",
             "protocol: LDAP tls {starttls: true}",
             {hears(ldap_start_tls), says(ldap(1, ldap_result(0x78, 2, "unsupported extended operation")))},
             "down: LDAP StartTLS: protocolError (2): unsupported extended operation"},
        Case{"Disconnects",
             "protocol: LDAP",
             {hears(ldap_bind(1, "", "")), says(ldap(0, ldap_result(0x78, 52, "shutdown")))},
             "down: LDAP: the server ends the connection: unavailable (52): shutdown"},
        Case{"OtherMessage",
             "protocol: LDAP",
             {hears(ldap_bind(1, "", "")), says(ldap(9, ldap_result(0x61, 0)))},
             "down: LDAP: another message instead of the answer to bind"},
        Case{"Malformed",
             "protocol: LDAP",
             {hears(ldap_bind(1, "", "")), says(ldap(1, tlv(0x61, "\x0a\x05\x00"s)))},
             "down: LDAP: malformed result"},
        Case{"Huge",
             "protocol: LDAP",
             {hears(ldap_bind(1, "", "")), says("\x30\x84\x7f\xff\xff\xff"s)},
             "down: LDAP: not LDAP*"},
        Case{"SomethingElse",
             "protocol: LDAP",
             {hears(ldap_bind(1, "", "")), says("HTTP/1.1 400\r\n")},
             "down: LDAP: not LDAP: \"H*"},
        Case{
            "UserWithoutPassword", "protocol: LDAP user: \"cn=al\"", {}, "unusable: LDAP: a user without a password*"}),
    name_of_case);

TEST(HC3Ldap, BytesBeforeTheHandshakeAreRefused) {
    const Case c{"",
                 "protocol: LDAP tls {starttls: true}",
                 {hears(ldap_start_tls), says(ldap(1, ldap_result(0x78, 0)) + ldap(2, ldap_result(0x61, 0)))},
                 ""};
    EXPECT_EQ(run(c), "down: LDAP: more bytes before the TLS handshake, as if somebody had put them in");
}

// ---- gRPC ----

std::string h2(int type, int flags, int stream, const std::string& payload) {
    std::string out{'\0', static_cast<char>(payload.size() >> 8U), static_cast<char>(payload.size()),
                    static_cast<char>(type), static_cast<char>(flags)};
    put_u32(out, static_cast<std::uint32_t>(stream));
    return out + payload;
}
std::string literal(const std::string& name, const std::string& value) {
    return "\0"s + static_cast<char>(name.size()) + name + static_cast<char>(value.size()) + value;
}
constexpr int data_frame = 0, headers_frame = 1, reset_frame = 3, settings_frame = 4, goaway_frame = 7;
constexpr int end_stream = 1, end_headers = 4;
const std::string h2_settings = h2(settings_frame, 0, 0, "");
const std::string h2_head = h2(headers_frame, end_headers, 1, "\x88" + literal("content-type", "application/grpc"));
std::string h2_trailers(const std::string& code, const std::string& text = "") {
    return h2(headers_frame, end_headers | end_stream, 1,
              literal("grpc-status", code) + (text.empty() ? "" : literal("grpc-message", text)));
}
std::string h2_only_trailers(const std::string& code, const std::string& text = "") {
    return h2(headers_frame, end_headers | end_stream, 1,
              "\x88" + literal("grpc-status", code) + literal("grpc-message", text));
}
std::string grpc_data(const std::string& message) {
    return h2(data_frame, 0, 1, "\0\0\0\0"s + static_cast<char>(message.size()) + message);
}

struct GrpcCase {
    std::string name;
    std::string says;
    std::string wanted;
};
TEST(HC3Grpc, Scripted) {
    const std::vector<GrpcCase> cases{
        {"Serving", h2_settings + h2_head + grpc_data("\x08\x01") + h2_trailers("0"), "up: gRPC: SERVING"},
        {"NotServing", h2_settings + h2_head + grpc_data("\x08\x02") + h2_trailers("0"),
         "down: gRPC: NOT_SERVING, wanted SERVING"},
        {"Unknown", h2_settings + h2_head + grpc_data("") + h2_trailers("0"), "down: gRPC: UNKNOWN, wanted SERVING"},
        {"Unimplemented", h2_settings + h2_only_trailers("12", "unknown service"),
         "down: gRPC: UNIMPLEMENTED (12): the server has no health service (grpc.health.v1): unknown service"},
        {"NotFound", h2_settings + h2_only_trailers("5", "unknown service"),
         "down: gRPC: NOT_FOUND (5): the server does not know the service \"shop.Cart\""},
        {"Unavailable", h2_settings + h2_only_trailers("14", "draining"), "down: gRPC: UNAVAILABLE (14): draining"},
        {"Http404", h2_settings + h2(headers_frame, end_headers | end_stream, 1, "\x8d"),
         "down: gRPC: HTTP 404, wanted 200"},
        {"NoStatus", h2_settings + h2_head + h2(data_frame, end_stream, 1, ""),
         "down: gRPC: answer without grpc-status"},
        {"Reset", h2_settings + h2(reset_frame, 0, 1, "\0\0\0\x07"s),
         "down: gRPC: the server reset the stream: REFUSED_STREAM"},
        {"GoesAway", h2_settings + h2(goaway_frame, 0, 0, "\0\0\0\0\0\0\0\x0b"s + "calm"),
         "down: gRPC: the server reset the stream: REFUSED_STREAM"},
        {"Compressed", h2_settings + h2_head + h2(data_frame, 0, 1, "\1\0\0\0\2\x08\x01"s) + h2_trailers("0"),
         "down: gRPC: malformed HealthCheckResponse"},
        {"LongerThanSaid", h2_settings + h2_head + h2(data_frame, 0, 1, "\0\0\0\0\1\x08\x01"s) + h2_trailers("0"),
         "down: gRPC: malformed HealthCheckResponse"},
        {"StatusIsText", h2_settings + h2_head + grpc_data("\x0a\x01x") + h2_trailers("0"),
         "down: gRPC: malformed HealthCheckResponse"},
        {"Http1", "HTTP/1.1 400 Bad Request\r\n\r\n", "down: gRPC: no HTTP/2: Remote peer returned unexpected data*"},
    };
    for (const GrpcCase& c : cases) {
        for (const std::size_t piece : {std::string::npos, std::size_t{1}, std::size_t{7}}) {
            Peer peer({c.name, "protocol: GRPC request: \"shop.Cart\"", {}, ""});
            peer.run({says(c.says)}, piece);
            EXPECT_TRUE(fits(peer.result(), c.wanted))
                << c.name << "\n  got: " << peer.result() << "\nwanted: " << c.wanted;
        }
        if (!c.wanted.starts_with("up")) continue;
        for (std::size_t cut = 0; cut < c.says.size(); ++cut) {
            Peer peer({c.name, "protocol: GRPC", {}, ""});
            EXPECT_EQ(peer.run({says(c.says)}, std::string::npos, cut).substr(0, 10), "down: gRPC") << cut;
        }
    }
}

TEST(HC3Grpc, Asks) {
    ProbeSpec spec = spec_of("protocol: GRPC request: \"shop.Cart\"");
    const auto talk = make_talk(spec);
    const std::string asked = talk->on_connected().send;
    EXPECT_TRUE(asked.starts_with("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    EXPECT_TRUE(asked.ends_with("\0\0\0\0\x0b\x0a\x09shop.Cart"s)) << printable(asked, 400);
}

// ---- raw bytes, feedback ----

INSTANTIATE_TEST_SUITE_P(
    Tcp, Binaries,
    ::testing::Values(
        Case{"OnlyConnects", "protocol: TCP", {}, "up: connected"},
        Case{"OnlySends", "protocol: TCP send: \"bye\\\\r\\\\n\"", {hears("bye\r\n")}, "up: connected"},
        Case{"Banner", "protocol: TCP expect: \"SSH-2.0-\"", {says("SSH-2.0-OpenSSH\r\n")}, "up: TCP: \"SSH-2.0-*"},
        Case{"Escapes",
             "protocol: TCP send: \"a\\\\r\\\\n\\\\t\\\\0\\\\x41\\\\\\\\\\\\q\" expect: \"\\\\x00B\"",
             {hears("a\r\n\t\0A\\\\q"s), says("zz\0B"s)},
             "up: TCP: \"zz\\x00B\""},
        Case{"Regex", "protocol: TCP expect_regex: \"v[0-9]+\\\\.\"", {says("hello v12.")}, "up: TCP: \"hello v12.\""},
        Case{"AllOfThem",
             "protocol: TCP expect: \"a\" expect_text: \"b\" expect_regex: \"c$\"",
             {says("xabc")},
             "up: TCP: \"xabc\""},
        Case{"Missing",
             "protocol: TCP expect: \"OK\"",
             {says("no"), closes()},
             "down: TCP: no \"OK\" in the answer: \"no\""},
        Case{"NothingComes",
             "protocol: TCP expect: \"OK\"",
             {closes()},
             "down: TCP: connection closed without an answer"},
        Case{"Waits", "protocol: TCP expect: \"OK\"", {says("not yet")}, "waiting for answer"}),
    [](const auto& info) { return info.param.name; });

Maker feedback() {
    return [](const ProbeSpec&) { return make_feedback_talk([](const FeedbackAnswer&) {}); };
}
INSTANTIATE_TEST_SUITE_P(
    Feedback, Binaries,
    ::testing::Values(Case{"Percent", "", {says("75%\r\n")}, "up: feedback: 7*", feedback()},
                      Case{"ClosesWithoutNewline", "", {says("drain"), closes()}, "up: feedback: drain", feedback()},
                      Case{"EndlessLine", "", {says(std::string(300, 'x'))}, "down: feedback: neither*", feedback()},
                      Case{"Nothing", "", {closes()}, "down: feedback: connection closed without a line", feedback()}),
    name_of_case);

TEST(HC6Feedback, Words) {
    struct Row {
        std::string line;
        std::optional<unsigned> percent;
        std::string state;
    };
    for (const Row& row : std::vector<Row>{{"75%\n", 75, ""},
                                           {"75", 75, ""},
                                           {"0%", 0, ""},
                                           {"100%", 100, ""},
                                           {"up 75%\n", 75, "up"},
                                           {"ready,50%", 50, "up"},
                                           {"drain\r\n", {}, "drain"},
                                           {"maint", {}, "down"},
                                           {"down # disk full\n", {}, "down"},
                                           {"stopped", {}, "down"},
                                           {"failed\nup\n", {}, "down"}}) {
        const FeedbackAnswer answer = parse_feedback(row.line);
        EXPECT_EQ(answer.error, "") << row.line;
        EXPECT_EQ(answer.percent, row.percent) << row.line;
        EXPECT_EQ(answer.state, row.state) << row.line;
    }
    for (const char* line :
         {"", "\n", "# 75%", "101%", "-1%", "75.5%", "UP", "up down", "10% 20%", "99999999999%", "maxconn:3", "%"}) {
        EXPECT_NE(parse_feedback(line).error, "") << line;
    }
}

}  // namespace
}  // namespace lbcluster::health::testing
