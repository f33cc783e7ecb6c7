// HC-3: DNS, RADIUS, SIP and raw UDP, a datagram at a time; SIP also on a stream. RADIUS with the examples of the RFCs.
#include <algorithm>

#include "healthd/talk/protocols.hpp"
#include "tests/unit/healthd/talk_peer.hpp"

namespace lbcluster::health::testing {
namespace {

class Datagrams : public ::testing::TestWithParam<Case> {};
TEST_P(Datagrams, Scripted) {
    const Case& c = GetParam();
    const std::string whole = run(c);
    EXPECT_TRUE(fits(whole, c.wanted)) << "  got: " << whole << "\nwanted: " << c.wanted;
    if (!c.wanted.starts_with("up")) return;
    // A datagram that lost its end is no good answer.
    for (const Event& event : c.script) {
        for (std::size_t size = 0; event.kind == Event::Kind::says && size < event.bytes.size(); ++size) {
            const std::string result = Peer(c).run({says(event.bytes.substr(0, size))}, std::string::npos);
            EXPECT_FALSE(result.starts_with("up") && c.name.find("Any") == std::string::npos) << size << ": " << result;
        }
    }
}

// ---- DNS ----

std::string dns_name(const std::string& name) {
    std::string out;
    for (std::size_t at = 0; at < name.size();) {
        const auto end = std::min(name.find('.', at), name.size());
        out += static_cast<char>(end - at);
        out += name.substr(at, end - at);
        at = end + 1;
    }
    return out + "\0"s;
}
std::string dns_question(const std::string& name, int type) {
    return dns_name(name) + "\0"s + static_cast<char>(type) + "\0\x01"s;
}
std::string dns_query(const std::string& question) {
    return "\xab\xcd\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"s + question;
}
std::string dns_answer(int flags, const std::string& question, const std::vector<std::string>& records) {
    std::string out = "\xab\xcd"s;
    put_u16(out, static_cast<std::uint16_t>(flags));
    for (const std::size_t count :
         {question.empty() ? std::size_t{0} : 1, records.size(), std::size_t{0}, std::size_t{0}}) {
        put_u16(out, static_cast<std::uint16_t>(count));
    }
    out += question;
    for (const std::string& record : records) out += record;
    return out;
}
std::string dns_record(int type, const std::string& data, const std::string& name = "\xc0\x0c") {
    std::string out = name + "\0"s + static_cast<char>(type) + "\0\x01\0\0\x01\x2c"s;
    put_u16(out, static_cast<std::uint16_t>(data.size()));
    return out + data;
}
Maker dns() {
    return [](const ProbeSpec& spec) {
        return make_dns_talk(spec, [](std::span<std::uint8_t> bytes) {
            bytes[0] = 0xab;
            bytes[1] = 0xcd;
        });
    };
}
constexpr int good = 0x8180, truncated = 0x8380;
constexpr int a = 1, ns = 2, cname = 5, mx = 15, txt = 16, aaaa = 28;
const std::string www = dns_question("www.example.org", a), root = dns_question("", ns);
const std::string www_check = "protocol: DNS request: \"www.example.org\" ";

INSTANTIATE_TEST_SUITE_P(
    Dns, Datagrams,
    ::testing::Values(
        Case{"Root",
             "protocol: DNS",
             {hears(dns_query(root)),
              says(dns_answer(good, root, {dns_record(ns, dns_name("a.root-servers.net"), "\0"s)}))},
             "up: DNS: 1 records for NS of .",
             dns()},
        Case{"RootWithoutRecordsAny",
             "protocol: DNS",
             {hears(dns_query(root)), says(dns_answer(good, root, {}))},
             "up: DNS: 0 records for NS of .",
             dns()},
        Case{"Address",
             www_check + "expect_text: \"www.example.org A 192.0.2.1\"",
             {hears(dns_query(www)),
              says(dns_answer(good, dns_question("WWW.example.ORG", a),
                              {dns_record(a, "\xc0\x00\x02\x01"s, dns_name("www.example.org"))}))},
             "up: DNS: 1 records for A of www.example.org",
             dns()},
        Case{"Printed",
             www_check + "expect_regex: \"CNAME www.example.org\\n.* AAAA 2001:db8::1\\n.* MX 10 www.example.org\\n.* "
                         "TXT v=1 x\\n\"",
             {hears(dns_query(www)),
              says(dns_answer(good, www,
                              {dns_record(cname, "\xc0\x0c"),
                               dns_record(aaaa, unhex("20010db8000000000000000000000001")),
                               dns_record(mx, "\0\x0a\xc0\x0c"s), dns_record(txt, "\x04v=1 \x01x"s)}))},
             "up: DNS: 4 records for A of www.example.org",
             dns()},
        Case{"Type",
             "protocol: DNS request: \"example.org mx\"",
             {hears(dns_query(dns_question("example.org", mx))),
              says(dns_answer(good, dns_question("example.org", mx), {dns_record(mx, "\0\x0a\xc0\x0c"s)}))},
             "up: DNS: 1 records for MX of example.org",
             dns()},
        Case{"NxDomain",
             www_check,
             {hears(dns_query(www)), says(dns_answer(0x8183, www, {}))},
             "down: DNS: NXDOMAIN for A of www.example.org",
             dns()},
        Case{"ServFail",
             www_check,
             {hears(dns_query(www)), says(dns_answer(0x8182, www, {}))},
             "down: DNS: SERVFAIL for A of www.example.org",
             dns()},
        Case{"Refused",
             www_check,
             {hears(dns_query(www)), says(dns_answer(0x8185, "", {}))},
             "down: DNS: REFUSED for A of www.example.org",
             dns()},
        Case{"NoRecord",
             www_check,
             {hears(dns_query(www)), says(dns_answer(good, www, {}))},
             "down: DNS: no A of www.example.org",
             dns()},
        Case{"TruncatedAny",
             www_check,
             {hears(dns_query(www)), says(dns_answer(truncated, www, {}))},
             "up: DNS: 0 records for A of www.example.org, truncated",
             dns()},
        Case{"OtherText",
             www_check + "expect_text: \"10.0.0.1\"",
             {hears(dns_query(www)), says(dns_answer(good, www, {dns_record(a, "\xc0\x00\x02\x01"s)}))},
             "down: DNS: no \"10.0.0.1\" in the answer: www.example.org A 192.0.2.1\\n",
             dns()},
        Case{"OtherId",
             www_check,
             {hears(dns_query(www)), says("\xab\xce" + dns_answer(good, www, {}).substr(2))},
             "waiting for answer to the query",
             dns()},
        Case{"EchoOfTheQuestion",
             www_check,
             {hears(dns_query(www)), says(dns_query(www))},
             "waiting for answer to the query",
             dns()},
        Case{"OtherQuestion",
             www_check,
             {hears(dns_query(www)),
              says(dns_answer(good, dns_question("www.example.net", a), {dns_record(a, "\xc0\x00\x02\x01"s)}))},
             "down: DNS: answers another question than A of www.example.org",
             dns()},
        // A name that points to itself.
        Case{"Loop",
             www_check,
             {hears(dns_query(www)), says(dns_answer(good, www, {dns_record(a, "\1\2\3\4", "\xc0\x21")}))},
             "down: DNS: malformed*",
             dns()},
        Case{"LoopInData",
             www_check + "expect_text: \"?\"",
             {hears(dns_query(www)), says(dns_answer(good, www, {dns_record(cname, "\xc0\x2d")}))},
             "up: DNS: 1 records for A of www.example.org",
             dns()},
        Case{"Short", www_check, {hears(dns_query(www)), says("\xab\xcd\x81"s)}, "down: DNS: malformed answer", dns()},
        Case{"BadName",
             "protocol: DNS request: \"a..b\"",
             {},
             "unusable: DNS: request \"a..b\" is not NAME or NAME TYPE",
             dns()},
        Case{"BadType", "protocol: DNS request: \"a.b FOO\"", {}, "unusable: DNS: request \"a.b FOO\" is not*", dns()},
        Case{"LongName",
             "protocol: DNS request: \"" + std::string(64, 'x') + ".org\"",
             {},
             "unusable: DNS: request*",
             dns()}),
    name_of_case);

// ---- RADIUS ----

const std::string secret = "xyzzy5461";
// RFC 2865, 7.1: identifier and authenticator of the request, and what the server answers.
Maker rfc2865() {
    return [](const ProbeSpec& spec) {
        return make_radius_talk(spec, [](std::span<std::uint8_t> bytes) {
            const std::string known = unhex("00 0f403f9473978057bd83d5cb98f4227a");
            std::copy(known.begin(), known.end(), bytes.begin());
        });
    };
}
const std::string rfc2865_accept =
    unhex("02000026 86fe220e7624ba2a1005f6bf9b55e0b2 060600000001 0f0600000000 0e06c0a80103");
// RFC 5997, 6.1.
Maker rfc5997() {
    return [](const ProbeSpec& spec) {
        return make_radius_talk(spec, [](std::span<std::uint8_t> bytes) {
            const std::string known = unhex("da 8a54f4686fb394c52866e302185d0623");
            std::copy(known.begin(), known.end(), bytes.begin());
        });
    };
}
const std::string rfc5997_accept = unhex("02da0014 ef0d552a4bf2d693ec2b6fe8b5411d66");

std::string radius_answer(int code, const std::string& attributes, const std::string& with = secret) {
    std::string head{static_cast<char>(code), '\0', '\0', static_cast<char>(20 + attributes.size())};
    return head + md5(head + unhex("0f403f9473978057bd83d5cb98f4227a") + attributes + with) + attributes;
}
std::string radius_signed(int code, const std::string& attributes, const std::string& with = secret) {
    const std::string head{static_cast<char>(code), '\0', '\0', static_cast<char>(38 + attributes.size())};
    const std::string zeroed = "\x50\x12"s + std::string(16, '\0') + attributes;
    const std::string mac = hmac_md5(with, head + unhex("0f403f9473978057bd83d5cb98f4227a") + zeroed);
    return radius_answer(code, "\x50\x12"s + mac + attributes);
}
const std::string nemo = "protocol: RADIUS user: \"nemo\" password: \"arctangent\" secret: \"xyzzy5461\"";

INSTANTIATE_TEST_SUITE_P(
    Radius, Datagrams,
    ::testing::Values(Case{"ExampleOfRfc2865", nemo, {says(rfc2865_accept)}, "up: RADIUS: Access-Accept", rfc2865()},
                      Case{"ExampleOfRfc5997",
                           "protocol: RADIUS secret: \"xyzzy5461\"",
                           {says(rfc5997_accept)},
                           "up: RADIUS: Access-Accept",
                           rfc5997()},
                      Case{"Signed", nemo, {says(radius_signed(2, ""))}, "up: RADIUS: Access-Accept", rfc2865()},
                      Case{"WronglySigned",
                           nemo,
                           {says(radius_signed(2, "", "other"))},
                           "down: RADIUS: wrong Message-Authenticator",
                           rfc2865()},
                      Case{"Reject",
                           nemo,
                           {says(radius_answer(3, "\x12\x0cno arctangent"s.replace(1, 1, "\x0f")))},
                           "down: RADIUS: Access-Reject, wanted Access-Accept: no ***",
                           rfc2865()},
                      Case{"Challenge",
                           nemo,
                           {says(radius_answer(11, ""))},
                           "down: RADIUS: Access-Challenge, wanted Access-Accept",
                           rfc2865()},
                      Case{"OtherSecret",
                           nemo,
                           {says(radius_answer(2, "", "wrong"))},
                           "down: RADIUS: wrong Response Authenticator*",
                           rfc2865()},
                      Case{"OtherId",
                           nemo,
                           {says("\2\7"s + rfc2865_accept.substr(2))},
                           "waiting for answer to Access-Request",
                           rfc2865()},
                      Case{"AttributeTooLong",
                           nemo,
                           {says(radius_answer(2, "\x12\x40x"))},
                           "down: RADIUS: malformed attributes",
                           rfc2865()},
                      Case{"AttributeTooShort",
                           nemo,
                           {says(radius_answer(2, "\x12\x01"))},
                           "down: RADIUS: malformed attributes",
                           rfc2865()},
                      Case{"LongerThanDatagram",
                           nemo,
                           {says("\2\0\7\0"s + std::string(16, 'x'))},
                           "down: RADIUS: malformed answer",
                           rfc2865()},
                      Case{"LongPassword",
                           "protocol: RADIUS user: \"a\" password: \"" + std::string(129, 'x') + "\" secret: \"zzz\"",
                           {},
                           "unusable: RADIUS: a user has at most 253 bytes, a password 128"}),
    name_of_case);

TEST(HC3Radius, HidesThePasswordAsInRfc2865) {
    const ProbeSpec spec = spec_of(nemo);
    const auto talk = rfc2865()(spec);
    const Talk::Step step = talk->on_connected();
    EXPECT_TRUE(step.secret);
    EXPECT_EQ(step.send.substr(0, 4), "\x01\x00\x00\x49"s);
    EXPECT_NE(step.send.find(unhex("01066e656d6f 02120dbe708d93d413ce3196e43f782a0aee")), std::string::npos);
}

TEST(HC3Radius, SignsAsInRfc5997) {
    std::string request = unhex("0cda0026 8a54f4686fb394c52866e302185d0623 5012") + std::string(16, '\0');
    EXPECT_EQ(hmac_md5(secret, request), unhex("5a665e2e1e8411f3e243822097c84fa3"));
    // And ours, which also names itself.
    const ProbeSpec spec = spec_of("protocol: RADIUS secret: \"xyzzy5461\"");
    std::string ours = rfc5997()(spec)->on_connected().send;
    const std::string mac = ours.substr(22, 16);
    ours.replace(22, 16, std::string(16, '\0'));
    EXPECT_EQ(ours.substr(0, 1), "\x0c");
    EXPECT_EQ(hmac_md5(secret, ours), mac);
}

TEST(HC3Radius, LongPasswordsAreHiddenInBlocks) {
    const ProbeSpec spec =
        spec_of("protocol: RADIUS user: \"a\" password: \"0123456789abcdef0123456789abcdeX\" secret: \"s\"");
    const std::string sent =
        make_radius_talk(spec, [](std::span<std::uint8_t> bytes) { std::fill(bytes.begin(), bytes.end(), 0); })
            ->on_connected()
            .send;
    const auto at = sent.find("\x02\x22");
    ASSERT_NE(at, std::string::npos);
    const std::string first = sent.substr(at + 2, 16), second = sent.substr(at + 18, 16);
    EXPECT_EQ(xor_bytes(first, md5("s" + std::string(16, '\0'))), "0123456789abcdef");
    EXPECT_EQ(xor_bytes(second, md5("s" + first)), "0123456789abcdeX");
}

// ---- SIP ----

Maker sip() {
    return [](const ProbeSpec& spec) {
        return make_sip_talk(spec, [](std::span<std::uint8_t> bytes) { std::fill(bytes.begin(), bytes.end(), 0xaa); });
    };
}
std::string sip_request(const std::string& uri, const std::string& transport) {
    return "OPTIONS " + uri + " SIP/2.0\r\nVia: SIP/2.0/" + transport +
           " lbcluster.invalid;branch=z9hG4bKaaaaaaaaaaaaaaaa;rport\r\nMax-Forwards: 70\r\n"
           "From: <sip:healthd@lbcluster.invalid>;tag=aaaaaaaaaaaa\r\nTo: <" +
           uri +
           ">\r\nCall-ID: aaaaaaaaaaaaaaaaaaaaaaaa@lbcluster.invalid\r\nCSeq: 1 OPTIONS\r\nAccept: application/sdp\r\n"
           "User-Agent: lbcluster\r\nContent-Length: 0\r\n\r\n";
}
std::string sip_answer(const std::string& status, const std::string& more = "", const std::string& body = "") {
    return "SIP/2.0 " + status +
           "\r\nv: SIP/2.0/UDP lbcluster.invalid;branch=z9hG4bKaaaaaaaaaaaaaaaa;rport=5;received=1.2.3.4\r\n"
           "call-id : aaaaaaaaaaaaaaaaaaaaaaaa@lbcluster.invalid\r\nCSeq: 1 OPTIONS\r\n" +
           more + "\r\n" + body;
}
const std::string sip_tcp = "protocol: SIP request: \"sip:pbx;transport=tcp\" ";
const Event sip_asked = hears(sip_request("sip:192.0.2.7:4711", "UDP"));
const Event sip_asked_tcp = hears(sip_request("sip:pbx;transport=tcp", "TCP"));

INSTANTIATE_TEST_SUITE_P(
    Sip, Datagrams,
    ::testing::Values(
        Case{"Ok",
             "protocol: SIP expect_text: \"OPTIONS\"",
             {sip_asked, says(sip_answer("100 Trying")), says(sip_answer("200 OK"))},
             "up: SIP: 200 OK",
             sip()},
        Case{"NotFound",
             "protocol: SIP",
             {sip_asked, says(sip_answer("404 Not Found"))},
             "down: SIP: 404 Not Found, wanted 200",
             sip()},
        Case{"NotFoundIsFine",
             "protocol: SIP expect_status: 200 expect_status: 404",
             {sip_asked, says(sip_answer("404 Not Found"))},
             "up: SIP: 404 Not Found",
             sip()},
        Case{"OtherText",
             "protocol: SIP expect_text: \"Kamailio\"",
             {sip_asked, says(sip_answer("200 OK"))},
             "down: SIP: no \"Kamailio\" in the answer",
             sip()},
        Case{"OtherCall",
             "protocol: SIP",
             {sip_asked,
              says("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x;branch=z9hG4bKaaaaaaaaaaaaaaaa\r\nCall-ID: x\r\n\r\n")},
             "waiting for answer to OPTIONS",
             sip()},
        Case{"SomethingElse",
             "protocol: SIP",
             {sip_asked, says("hello")},
             "down: SIP: not a SIP answer: \"hello\"",
             sip()},
        Case{"LineBreakInUri",
             "protocol: SIP request: \"sip:a\\r\\nX: y\"",
             {},
             "unusable: SIP: request \"sip:a\\r\\nX: y\" is not a URI",
             sip()}),
    name_of_case);

class SipStreams : public ::testing::TestWithParam<Case> {};
TEST_P(SipStreams, Scripted) { expect_stream(GetParam()); }
INSTANTIATE_TEST_SUITE_P(
    Sip, SipStreams,
    ::testing::Values(Case{"Ok",
                           sip_tcp + "expect_text: \"v=0\"",
                           {sip_asked_tcp, says("\r\n\r\n" + sip_answer("100 Trying", "l: 0\r\n") +
                                                sip_answer("200 OK", "Content-Length: 3\r\n", "v=0"))},
                           "up: SIP: 200 OK",
                           sip()},
                      Case{"EndlessHeader",
                           sip_tcp,
                           {sip_asked_tcp, says("SIP/2.0 200 OK\r\nX: " + std::string(20000, 'x'))},
                           "down: SIP: endless header*",
                           sip()},
                      Case{"HugeBody",
                           sip_tcp,
                           {sip_asked_tcp, says(sip_answer("200 OK", "Content-Length: 99999999\r\n"))},
                           "down: SIP: body too long*",
                           sip()},
                      Case{"BadLength",
                           sip_tcp,
                           {sip_asked_tcp, says(sip_answer("200 OK", "Content-Length: -1\r\n"))},
                           "down: SIP: bad Content-Length*",
                           sip()},
                      Case{"SomethingElse",
                           sip_tcp,
                           {sip_asked_tcp, says("HTTP/1.1 400 no\r\n")},
                           "down: SIP: not a SIP answer: \"H*",
                           sip()}),
    name_of_case);

// ---- raw UDP ----

INSTANTIATE_TEST_SUITE_P(
    Udp, Datagrams,
    ::testing::Values(Case{"AnyAnswer", "protocol: UDP send: \"hi\"", {hears("hi"), says("?")}, "up: UDP: \"?\""},
                      Case{"ExpectedAnywhere",
                           "protocol: UDP send: \"hi\" expect: \"ho\"",
                           {hears("hi"), says("hoho")},
                           "up: UDP: \"hoho\"*"},
                      Case{"Unexpected",
                           "protocol: UDP send: \"hi\" expect: \"ho\"",
                           {hears("hi"), says("he")},
                           "down: UDP: no \"ho\" in the answer: \"he\""},
                      Case{"NothingToSend", "protocol: UDP", {}, "unusable: UDP: nothing to send: give `send`"}),
    name_of_case);

// ---- how each is reached ----

TEST(HC3Transport, OfEachProtocol) {
    const std::vector<std::pair<std::string, Transport>> rows{
        {"protocol: DNS", Transport::udp},
        {"protocol: RADIUS", Transport::udp},
        {"protocol: UDP", Transport::udp},
        {"protocol: TCP", Transport::tcp},
        {"protocol: TCP tls {}", Transport::tls},
        {"protocol: HTTP", Transport::tcp},
        {"protocol: HTTPS", Transport::tls},
        {"protocol: TLS", Transport::tls},
        {"protocol: SMTP", Transport::tcp},
        {"protocol: SMTP tls {}", Transport::tls},
        {"protocol: SMTP tls {starttls: true}", Transport::tcp},
        {"protocol: SIP", Transport::udp},
        {"protocol: SIP request: \"sip:a;Transport=TCP\"", Transport::tcp},
        {"protocol: SIP tls {}", Transport::tls},
        {"protocol: GRPC", Transport::tcp},
        {"protocol: GRPC tls {}", Transport::tls},
    };
    for (const auto& [check, wanted] : rows) EXPECT_EQ(transport_of(spec_of(check).check), wanted) << check;
    EXPECT_EQ(alpn_of(spec_of("protocol: GRPC tls {}").check), "h2");
    EXPECT_EQ(alpn_of(spec_of("protocol: POSTGRESQL tls {starttls: true}").check), "");
    EXPECT_EQ(make_talk(spec_of("protocol: TLS")), nullptr);
}

}  // namespace
}  // namespace lbcluster::health::testing
