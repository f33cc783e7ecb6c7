// A scripted server for one conversation, without sockets. A script says in turn what the server says, what it must
// hear, and when it does TLS or closes. Each case is run in whole pieces and byte by byte; a good one is also cut at
// every byte.
#pragma once

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "healthd/talk/talk.hpp"

namespace lbcluster::health::testing {

using namespace std::string_literals;

// Of hexadecimal digits, with blanks where they help.
inline std::string unhex(std::string_view text) {
    std::string out;
    std::string digits;
    for (const char c : text) {
        if (c == ' ') continue;
        digits += c;
        if (digits.size() < 2) continue;
        out += static_cast<char>(std::stoi(digits, nullptr, 16));
        digits.clear();
    }
    return out;
}

struct Event {
    enum class Kind { says, hears, tls, closes } kind;
    std::string bytes;
};
using Script = std::vector<Event>;
inline Event says(std::string bytes) { return {Event::Kind::says, std::move(bytes)}; }
inline Event hears(std::string bytes) { return {Event::Kind::hears, std::move(bytes)}; }
inline Event tls() { return {Event::Kind::tls, {}}; }
inline Event closes() { return {Event::Kind::closes, {}}; }

// `check`: protobuf text without CHECK_PROTOCOL_: `protocol: SMTP user: "a"`.
inline ProbeSpec spec_of(std::string check) {
    const std::string key = "protocol: ";
    if (const auto at = check.find(key); at != std::string::npos) check.insert(at + key.size(), "CHECK_PROTOCOL_");
    ProbeSpec spec;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(check, &spec.check)) << check;
    spec.address = *IpAddress::parse("192.0.2.7");
    spec.port = 4711;
    return spec;
}

using Maker = std::function<std::unique_ptr<Talk>(const ProbeSpec&)>;

struct Case {
    std::string name;
    std::string check;
    Script script;
    std::string wanted;  // "up: reason", "down: reason", "waiting for greeting"; a reason may end in "*"
    Maker make = make_talk;
};
inline std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }
inline std::string name_of_case(const ::testing::TestParamInfo<Case>& info) { return info.param.name; }

class Peer {
  public:
    explicit Peer(const Case& c) : spec_(spec_of(c.check)), talk_(c.make(spec_)) {}

    // Says at most `bytes_max` of the server's bytes, in pieces, then closes.
    std::string run(const Script& script, std::size_t piece, std::size_t bytes_max = std::string::npos) {
        take(talk_->on_connected());
        for (const Event& event : script) {
            if (bytes_max == 0) return close();
            switch (event.kind) {
                case Event::Kind::says:
                    if (!say(event.bytes, piece, bytes_max)) return end("the server had more to say");
                    break;
                case Event::Kind::hears:
                    if (!heard_.starts_with(event.bytes)) {
                        return "heard \"" + printable(heard_, 400) + "\", wanted \"" + printable(event.bytes, 400) +
                               '"';
                    }
                    heard_.erase(0, event.bytes.size());
                    break;
                case Event::Kind::tls:
                    if (next_ != Talk::Next::start_tls) return end("no TLS was begun");
                    take(talk_->on_tls());
                    break;
                case Event::Kind::closes:
                    return close();
            }
        }
        if (bytes_max == 0) return close();
        const bool listened =
            std::any_of(script.begin(), script.end(), [](const Event& e) { return e.kind == Event::Kind::hears; });
        if (listened && !heard_.empty()) return "heard more: \"" + printable(heard_, 400) + '"';
        return end("");
    }

    [[nodiscard]] std::string result() const { return end(""); }
    [[nodiscard]] bool is_done() const { return next_ == Talk::Next::done; }

  private:
    bool say(const std::string& bytes, std::size_t piece, std::size_t& bytes_max) {
        for (std::size_t at = 0; at < bytes.size() && bytes_max > 0;) {
            if (next_ != Talk::Next::read) return next_ == Talk::Next::done;
            const std::size_t size = std::min({piece, bytes.size() - at, bytes_max});
            take(talk_->on_bytes(std::string_view(bytes).substr(at, size)));
            at += size;
            if (bytes_max != std::string::npos) bytes_max -= size;
        }
        return true;
    }

    std::string close() {
        if (next_ != Talk::Next::done) take(talk_->on_end());
        EXPECT_EQ(next_, Talk::Next::done);
        return end("");
    }

    void take(Talk::Step step) {
        EXPECT_NE(next_, Talk::Next::done) << "went on after the end";
        const std::string& password = spec_.check.password();
        if (!password.empty() && step.send.find(password) != std::string::npos) {
            EXPECT_TRUE(step.secret) << "a password that is not marked: " << printable(step.send, 400);
        }
        heard_ += step.send;
        next_ = step.next;
        if (next_ != Talk::Next::done) return;
        outcome_ = step.outcome;
        EXPECT_FALSE(outcome_.reason.empty());
        EXPECT_LE(outcome_.reason.size(), reason_bytes_max);
        for (const std::string& secret : {password, spec_.check.secret()}) {
            EXPECT_TRUE(secret.empty() || outcome_.reason.find(secret) == std::string::npos) << outcome_.reason;
        }
        for (const unsigned char c : outcome_.reason) EXPECT_TRUE(c >= 0x20 && c < 0x7f) << outcome_.reason;
    }

    [[nodiscard]] std::string end(const std::string& problem) const {
        if (next_ == Talk::Next::start_tls) return "begins TLS" + (problem.empty() ? "" : ", but " + problem);
        if (next_ == Talk::Next::read) {
            return "waiting for " + talk_->waiting_for() + (problem.empty() ? "" : ", but " + problem);
        }
        const char* finding = outcome_.finding == Finding::up     ? "up"
                              : outcome_.finding == Finding::down ? "down"
                                                                  : "unusable";
        return finding + ": "s + outcome_.reason;
    }

    ProbeSpec spec_;
    std::unique_ptr<Talk> talk_;
    std::string heard_;
    Talk::Next next_ = Talk::Next::read;
    Outcome outcome_;
};

inline bool fits(const std::string& result, const std::string& wanted) {
    if (wanted.ends_with('*')) return result.starts_with(wanted.substr(0, wanted.size() - 1));
    return result == wanted;
}

inline std::string run(const Case& c, std::size_t piece = std::string::npos,
                       std::size_t bytes_max = std::string::npos) {
    return Peer(c).run(c.script, piece, bytes_max);
}

inline void expect_stream(const Case& c) {
    const std::string whole = run(c);
    EXPECT_TRUE(fits(whole, c.wanted)) << "  got: " << whole << "\nwanted: " << c.wanted;
    for (const std::size_t piece : {1, 7}) {
        const std::string result = run(c, piece);
        EXPECT_TRUE(fits(result, c.wanted))
            << "in pieces of " << piece << "\n  got: " << result << "\nwanted: " << c.wanted;
    }
    if (!c.wanted.starts_with("up")) return;
    std::size_t bytes = 0;
    for (const Event& event : c.script) bytes += event.kind == Event::Kind::says ? event.bytes.size() : 0;
    const std::string layer = whole.substr(4, whole.find_first_of(": ", 4) - 4);
    for (std::size_t cut = 0; cut < bytes; ++cut) {
        const std::string result = run(c, std::string::npos, cut);
        EXPECT_TRUE(result.starts_with("down: " + layer) || fits(result, c.wanted))
            << "cut after " << cut << ": " << result;
    }
}

}  // namespace lbcluster::health::testing
