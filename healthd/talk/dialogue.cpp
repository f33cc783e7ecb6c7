#include "healthd/talk/dialogue.hpp"

#include <algorithm>
#include <cctype>

#include "healthd/talk/expectation.hpp"

namespace lbcluster::health {
namespace {

bool same_word(std::string_view a, std::string_view b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](unsigned char x, unsigned char y) { return std::toupper(x) == std::toupper(y); });
}

std::string_view next_word(std::string_view& text) {
    constexpr std::string_view blanks = " =\r\n";
    const auto begin = std::min(text.find_first_not_of(blanks), text.size());
    text.remove_prefix(begin);
    const std::string_view word = text.substr(0, text.find_first_of(blanks));
    text.remove_prefix(word.size());
    return word;
}

std::string quoted(std::string_view value) {
    std::string out = "\"";
    for (const char c : value) {
        if (c == '"' || c == '\\') out += '\\';
        out += c;
    }
    return out += '"';
}

bool is_eight_bit(std::string_view value) {
    return std::any_of(value.begin(), value.end(), [](unsigned char c) { return c > 0x7e || c < 0x20; });
}

}  // namespace

Dialogue::Dialogue(const DialogueProtocol& protocol, const config::Check& check) : protocol_(protocol), check_(check) {
    if (check.tls().starttls()) facts_ |= fact::starttls;
    if (!check.user().empty()) facts_ |= fact::user;
    if (!check.password().empty()) facts_ |= fact::password;
    if (Expectation(check).any()) facts_ |= fact::expects;
    if (is_eight_bit(check.user()) || is_eight_bit(check.password())) facts_ |= fact::eight_bit;
}

Talk::Step Dialogue::on_connected() {
    if (!protocol_.counted_values) {
        for (const auto& [key, value] :
             {std::pair("user", &check_.user()), std::pair("password", &check_.password())}) {
            if (!has_line_break_or_nul(*value)) continue;
            return unusable(std::string(protocol_.name) + ": " + key +
                            " contains a line break or NUL, which cannot be sent");
        }
    }
    return proceed();
}

Talk::Step Dialogue::proceed() {
    const auto due = [this](const Exchange& e) { return (facts_ & e.when) == e.when && (facts_ & e.unless) == 0; };
    while (at_ < protocol_.exchanges.size() && !due(now())) ++at_;
    if (at_ == protocol_.exchanges.size()) {
        return up(std::string(protocol_.name) + ": " + first_line_, std::string(protocol_.goodbye));
    }
    if (!now().refuse.empty()) return down(std::string(protocol_.name) + ": " + std::string(now().refuse));
    return say(expanded(now().send), now().secret);
}

Talk::Step Dialogue::on_bytes(std::string_view bytes) {
    buffer_ += bytes;
    Step all;
    for (;;) {
        Reply reply;
        // A reply ends with a line; without one there is nothing new to find.
        const bool line = bytes.find('\n') != std::string_view::npos;
        const Reading reading =
            line || buffer_.size() > line_bytes_max ? protocol_.read(buffer_, now().tag, reply) : Reading::more;
        if (reading == Reading::wrong) {
            return down(where() + ": not " + std::string(protocol_.name) + ": \"" + shown(buffer_, check_) + '"');
        }
        if (reading == Reading::more) {
            if (buffer_.size() > reply_bytes_max) return down(where() + ": the " + waiting_for() + " does not end");
            return all;
        }
        Step step = judge(reply);
        buffer_.erase(0, reply.bytes);
        if (step.next == Next::start_tls && !buffer_.empty()) {
            return down(where() + ": more bytes before the TLS handshake, as if somebody had put them in");
        }
        step.send.insert(0, all.send);
        step.secret = step.secret || all.secret;
        all = std::move(step);
        if (all.next != Next::read || buffer_.empty()) return all;
        bytes = buffer_;
    }
}

Talk::Step Dialogue::judge(const Reply& reply) {
    const auto& wanted = now().wanted;
    const auto* found = std::find_if(wanted.begin(), wanted.end(),
                                     [&](const Wanted& w) { return !w.status.empty() && w.status == reply.status; });
    const std::string line = shown(reply.line, check_);
    if (found == wanted.end()) return down(where() + ": " + line + ", wanted " + wanted_text());
    if (now().expect) {
        if (const std::string missing = Expectation(check_).missing(reply.all); !missing.empty()) {
            return down(where() + ": " + missing + ": " + line);
        }
    }
    if (first_line_.empty()) first_line_ = line;
    facts_ |= found->then;
    learn(reply.all);
    if (now().start_tls) return {.next = Next::start_tls};
    ++at_;
    return proceed();
}

void Dialogue::learn(std::string_view reply) {
    constexpr std::size_t code_bytes = 4;  // "250-"
    while (!protocol_.offers.empty() && !reply.empty()) {
        const auto end = reply.find('\n');
        std::string_view line = reply.substr(0, end);
        reply.remove_prefix(end == std::string_view::npos ? reply.size() : end + 1);
        line.remove_prefix(std::min(code_bytes, line.size()));
        const std::string_view keyword = next_word(line);
        for (std::string_view parameter = next_word(line);; parameter = next_word(line)) {
            for (const Offer& offer : protocol_.offers) {
                if (same_word(offer.keyword, keyword) &&
                    (offer.parameter.empty() || same_word(offer.parameter, parameter))) {
                    facts_ |= offer.known;
                }
            }
            if (parameter.empty()) break;
        }
    }
}

Talk::Step Dialogue::on_tls() {
    facts_ &= fact::of_configuration;
    ++at_;
    return proceed();
}

Talk::Step Dialogue::on_end() {
    std::string what = std::string(protocol_.name) + ": connection closed before the " + waiting_for();
    if (!buffer_.empty()) what += " was whole: \"" + shown(buffer_, check_) + '"';
    return down(what);
}

std::string Dialogue::waiting_for() const {
    if (at_ >= protocol_.exchanges.size()) return "end";
    return now().send.empty() ? std::string(now().name) : "answer to " + std::string(now().name);
}

std::string Dialogue::where() const {
    return std::string(protocol_.name) + (now().send.empty() ? "" : " " + std::string(now().name));
}

std::string Dialogue::wanted_text() const {
    std::string out;
    for (const Wanted& w : now().wanted) {
        if (!w.status.empty()) out += (out.empty() ? "" : " or ") + std::string(w.status);
    }
    return out;
}

std::string Dialogue::value_of(std::string_view placeholder) const {
    if (placeholder == "plain") return to_base64('\0' + check_.user() + '\0' + check_.password());
    const auto sign = placeholder.find('_');
    const std::string_view name = placeholder.substr(0, sign);
    const std::string_view form = sign == std::string_view::npos ? "" : placeholder.substr(sign + 1);
    LBC_ASSERT(name == "user" || name == "password");
    const std::string& value = name == "user" ? check_.user() : check_.password();
    if (form == "bytes") return std::to_string(value.size());
    if (form == "base64") return to_base64(value);
    if (form == "quoted") return quoted(value);
    LBC_ASSERT(form.empty());
    return value;
}

std::string Dialogue::expanded(std::string_view text) const {
    std::string out;
    for (;;) {
        const auto begin = text.find('<');
        out += text.substr(0, begin);
        if (begin == std::string_view::npos) return out;
        const auto end = text.find('>', begin);
        LBC_ASSERT(end != std::string_view::npos);
        out += value_of(text.substr(begin + 1, end - begin - 1));
        text.remove_prefix(end + 1);
    }
}

}  // namespace lbcluster::health
