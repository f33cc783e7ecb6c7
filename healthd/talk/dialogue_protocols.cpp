// The talkative protocols as data, and where the replies of each end.
#include <algorithm>
#include <charconv>

#include "healthd/talk/dialogue.hpp"

namespace lbcluster::health {
namespace {

// The first line, with its end cut off; `bytes` counts the end too.
Reading first_line(std::string_view buffer, std::string_view& line, std::size_t& bytes) {
    const auto end = buffer.substr(0, Dialogue::line_bytes_max).find('\n');
    if (end == std::string_view::npos) {
        return buffer.size() >= Dialogue::line_bytes_max ? Reading::wrong : Reading::more;
    }
    bytes = end + 1;
    line = buffer.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    return Reading::whole;
}

bool is_code(std::string_view line) {
    return line.size() >= 3 &&
           std::all_of(line.begin(), line.begin() + 3, [](char c) { return c >= '0' && c <= '9'; }) &&
           (line.size() == 3 || line[3] == ' ' || line[3] == '-');
}

// RFC 5321, 4.2.1: each line of several has the code. RFC 959, 4.2: between the first and the last there may be any
// text.
Reading read_codes(std::string_view buffer, bool free_text, Reply& reply) {
    std::size_t all = 0;
    for (;;) {
        std::string_view line;
        std::size_t bytes = 0;
        const Reading reading = first_line(buffer.substr(all), line, bytes);
        if (reading != Reading::whole) return reading;
        const bool first = all == 0;
        const bool coded = is_code(line) && (first || line.substr(0, 3) == reply.status);
        if (!coded && (first || !free_text)) return Reading::wrong;
        if (first) reply.status = line.substr(0, 3);
        if (first) reply.line = line;
        all += bytes;
        if (!coded || (line.size() > 3 && line[3] == '-')) continue;
        reply.all = buffer.substr(0, all);
        reply.bytes = all;
        return Reading::whole;
    }
}

Reading read_smtp(std::string_view buffer, std::string_view, Reply& reply) { return read_codes(buffer, false, reply); }
Reading read_ftp(std::string_view buffer, std::string_view, Reply& reply) { return read_codes(buffer, true, reply); }

Reading read_line(std::string_view buffer, Reply& reply) {
    const Reading reading = first_line(buffer, reply.line, reply.bytes);
    reply.all = reply.line;
    reply.status = reply.line.substr(0, reply.line.find(' '));
    return reading;
}

Reading read_nntp(std::string_view buffer, std::string_view, Reply& reply) {
    const Reading reading = read_line(buffer, reply);
    return reading == Reading::whole && !is_code(reply.line) ? Reading::wrong : reading;
}

Reading read_pop3(std::string_view buffer, std::string_view, Reply& reply) {
    const Reading reading = read_line(buffer, reply);
    return reading == Reading::whole && reply.status != "+OK" && reply.status != "-ERR" ? Reading::wrong : reading;
}

// The greeting is untagged. Later untagged lines say what happens meanwhile; only BYE is an answer (RFC 3501, 7.1.5).
Reading read_imap(std::string_view buffer, std::string_view tag, Reply& reply) {
    for (std::size_t skipped = 0;;) {
        const Reading reading = read_line(buffer.substr(skipped), reply);
        if (reading != Reading::whole) return reading;
        reply.bytes += skipped;
        std::string_view rest = reply.line.substr(std::min(reply.status.size() + 1, reply.line.size()));
        const std::string_view word = rest.substr(0, rest.find(' '));
        if (reply.status == "+") return Reading::whole;
        if (reply.status != "*" && (tag.empty() || reply.status != tag)) return Reading::wrong;
        if (reply.status == "*" && !tag.empty() && word != "BYE") {
            skipped = reply.bytes;
            continue;
        }
        reply.status = word;
        return Reading::whole;
    }
}

// One simple string, error, number or bulk string.
Reading read_redis(std::string_view buffer, std::string_view, Reply& reply) {
    const Reading reading = read_line(buffer, reply);
    if (reading != Reading::whole) return reading;
    if (reply.line.empty()) return Reading::wrong;
    const char kind = reply.line.front();
    if (kind == '+' || kind == '-' || kind == ':') return Reading::whole;
    if (kind != '$') return Reading::wrong;
    std::size_t size = 0;
    const char* end = reply.line.data() + reply.line.size();
    const auto [stop, error] = std::from_chars(reply.line.data() + 1, end, size);
    if (error != std::errc{} || stop != end || size > Dialogue::reply_bytes_max) return Reading::wrong;
    const std::size_t head = reply.bytes;
    if (buffer.size() < head + size + 2) return Reading::more;
    if (buffer.substr(head + size, 2) != "\r\n") return Reading::wrong;
    reply.status = "$";
    reply.all = buffer.substr(head, size);
    reply.line = reply.all;
    reply.bytes = head + size + 2;
    return Reading::whole;
}

constexpr Facts a = fact::first_of_server;

// "lbcluster.invalid": a name is wanted (RFC 5321, 4.1.1.1), and this one is nobody's (RFC 2606).
constexpr std::string_view ehlo = "EHLO lbcluster.invalid\r\n";
constexpr Facts offers_tls = a, offers_plain = a << 1U, offers_login = a << 2U;
constexpr std::array smtp_offers{Offer{"STARTTLS", "", offers_tls}, Offer{"AUTH", "PLAIN", offers_plain},
                                 Offer{"AUTH", "LOGIN", offers_login}};
constexpr std::array smtp_exchanges{
    Exchange{.name = "greeting", .wanted = {{{"220"}}}, .expect = true},
    Exchange{.name = "EHLO", .send = ehlo, .wanted = {{{"250"}}}},
    Exchange{.when = fact::starttls, .unless = offers_tls, .refuse = "offers no STARTTLS"},
    Exchange{
        .name = "STARTTLS", .send = "STARTTLS\r\n", .wanted = {{{"220"}}}, .when = fact::starttls, .start_tls = true},
    Exchange{.name = "EHLO", .send = ehlo, .wanted = {{{"250"}}}, .when = fact::starttls},
    Exchange{.name = "AUTH",
             .send = "AUTH PLAIN <plain>\r\n",
             .wanted = {{{"235"}}},
             .when = fact::user | offers_plain,
             .secret = true},
    Exchange{.name = "AUTH",
             .send = "AUTH LOGIN\r\n",
             .wanted = {{{"334"}}},
             .when = fact::user | offers_login,
             .unless = offers_plain},
    Exchange{.name = "user",
             .send = "<user_base64>\r\n",
             .wanted = {{{"334"}}},
             .when = fact::user | offers_login,
             .unless = offers_plain},
    Exchange{.name = "password",
             .send = "<password_base64>\r\n",
             .wanted = {{{"235"}}},
             .when = fact::user | offers_login,
             .unless = offers_plain,
             .secret = true},
    Exchange{.when = fact::user,
             .unless = offers_plain | offers_login,
             .refuse = "offers neither AUTH PLAIN nor AUTH LOGIN, perhaps only with TLS"},
};

constexpr std::array pop3_exchanges{
    Exchange{.name = "greeting", .wanted = {{{"+OK"}}}, .expect = true},
    Exchange{.name = "STLS", .send = "STLS\r\n", .wanted = {{{"+OK"}}}, .when = fact::starttls, .start_tls = true},
    Exchange{.name = "USER", .send = "USER <user>\r\n", .wanted = {{{"+OK"}}}, .when = fact::user},
    Exchange{.name = "PASS", .send = "PASS <password>\r\n", .wanted = {{{"+OK"}}}, .when = fact::user, .secret = true},
};

constexpr Facts known_already = a;
constexpr std::array imap_exchanges{
    Exchange{.name = "greeting", .wanted = {{{"OK"}, {"PREAUTH", known_already}}}, .expect = true},
    Exchange{.name = "STARTTLS",
             .tag = "a1",
             .send = "a1 STARTTLS\r\n",
             .wanted = {{{"OK"}}},
             .when = fact::starttls,
             .start_tls = true},
    Exchange{.name = "LOGIN",
             .tag = "a2",
             .send = "a2 LOGIN <user_quoted> <password_quoted>\r\n",
             .wanted = {{{"OK"}}},
             .when = fact::user,
             .unless = fact::eight_bit | known_already,
             .secret = true},
    // Bytes that quotes cannot hold go as literals.
    Exchange{.name = "LOGIN",
             .tag = "a2",
             .send = "a2 LOGIN {<user_bytes>}\r\n",
             .wanted = {{{"+"}}},
             .when = fact::user | fact::eight_bit,
             .unless = known_already},
    Exchange{.name = "LOGIN",
             .tag = "a2",
             .send = "<user> {<password_bytes>}\r\n",
             .wanted = {{{"+"}}},
             .when = fact::user | fact::eight_bit,
             .unless = known_already},
    Exchange{.name = "LOGIN",
             .tag = "a2",
             .send = "<password>\r\n",
             .wanted = {{{"OK"}}},
             .when = fact::user | fact::eight_bit,
             .unless = known_already,
             .secret = true},
};

constexpr Facts logged_in = a;
constexpr std::array ftp_exchanges{
    Exchange{.name = "greeting", .wanted = {{{"220"}}}, .expect = true},
    Exchange{
        .name = "AUTH TLS", .send = "AUTH TLS\r\n", .wanted = {{{"234"}}}, .when = fact::starttls, .start_tls = true},
    Exchange{.name = "USER", .send = "USER <user>\r\n", .wanted = {{{"331"}, {"230", logged_in}}}, .when = fact::user},
    Exchange{.name = "PASS",
             .send = "PASS <password>\r\n",
             .wanted = {{{"230"}, {"202"}}},
             .when = fact::user,
             .unless = logged_in,
             .secret = true},
};

constexpr std::array nntp_exchanges{
    Exchange{.name = "greeting", .wanted = {{{"200"}, {"201"}}}, .expect = true},
    Exchange{
        .name = "STARTTLS", .send = "STARTTLS\r\n", .wanted = {{{"382"}}}, .when = fact::starttls, .start_tls = true},
};

// PING's answer is always the same, so an expectation looks at who it is: `role:master`, `master_link_status:up`.
constexpr std::array redis_exchanges{
    Exchange{.name = "AUTH",
             .send = "*3\r\n$4\r\nAUTH\r\n$<user_bytes>\r\n<user>\r\n$<password_bytes>\r\n<password>\r\n",
             .wanted = {{{"+OK"}}},
             .when = fact::user,
             .secret = true},
    Exchange{.name = "AUTH",
             .send = "*2\r\n$4\r\nAUTH\r\n$<password_bytes>\r\n<password>\r\n",
             .wanted = {{{"+OK"}}},
             .when = fact::password,
             .unless = fact::user,
             .secret = true},
    Exchange{.name = "PING", .send = "*1\r\n$4\r\nPING\r\n", .wanted = {{{"+PONG"}}}},
    Exchange{.name = "INFO",
             .send = "*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n",
             .wanted = {{{"$"}}},
             .when = fact::expects,
             .expect = true},
};

}  // namespace

const DialogueProtocol& smtp_protocol() {
    static constexpr DialogueProtocol p{"SMTP", read_smtp, smtp_exchanges, smtp_offers, "QUIT\r\n"};
    return p;
}
const DialogueProtocol& pop3_protocol() {
    static constexpr DialogueProtocol p{"POP3", read_pop3, pop3_exchanges, {}, "QUIT\r\n"};
    return p;
}
const DialogueProtocol& imap_protocol() {
    static constexpr DialogueProtocol p{"IMAP", read_imap, imap_exchanges, {}, "a9 LOGOUT\r\n"};
    return p;
}
const DialogueProtocol& ftp_protocol() {
    static constexpr DialogueProtocol p{"FTP", read_ftp, ftp_exchanges, {}, "QUIT\r\n"};
    return p;
}
const DialogueProtocol& nntp_protocol() {
    static constexpr DialogueProtocol p{"NNTP", read_nntp, nntp_exchanges, {}, "QUIT\r\n"};
    return p;
}
const DialogueProtocol& redis_protocol() {
    static constexpr DialogueProtocol p{"Redis", read_redis, redis_exchanges, {}, "", true};
    return p;
}

}  // namespace lbcluster::health
