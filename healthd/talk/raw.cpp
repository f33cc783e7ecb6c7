// Raw send and expect. TCP: `send` goes out at once, then bytes are collected until all that is expected came; nothing
// expected: a connection that took the bytes is enough. UDP: one datagram out; some answer must come in any case, as
// nothing else shows that there is a server.
#include <utility>

#include "healthd/talk/expectation.hpp"
#include "healthd/talk/protocols.hpp"

namespace lbcluster::health {
namespace {

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

// \r \n \t \0 \\ \xHH; a backslash before anything else is one.
std::string unescaped(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char next = i + 1 < text.size() ? text[i + 1] : ' ';
        const auto simple = std::string_view("rnt0\\").find(next);
        if (text[i] != '\\') {
            out += text[i];
        } else if (simple != std::string_view::npos) {
            out += std::string_view("\r\n\t\0\\", 5)[simple];
            ++i;
        } else if (next == 'x' && i + 3 < text.size() && hex_digit(text[i + 2]) >= 0 && hex_digit(text[i + 3]) >= 0) {
            out += static_cast<char>(hex_digit(text[i + 2]) * 16 + hex_digit(text[i + 3]));
            i += 3;
        } else {
            out += '\\';
        }
    }
    return out;
}

class RawTalk final : public Talk {
  public:
    RawTalk(const config::Check& check, bool datagrams)
        : check_(check), datagrams_(datagrams), expect_(unescaped(check.expect())) {}

    Step on_connected() override {
        std::string bytes = unescaped(check_.send());
        if (datagrams_ && bytes.empty()) return unusable("UDP: nothing to send: give `send`");
        if (!datagrams_ && !expects()) return up("connected", std::move(bytes));
        return say(std::move(bytes));
    }

    Step on_bytes(std::string_view bytes) override {
        answer_ += bytes;
        if (answer_.size() > received_bytes_max) return down(name() + ": endless answer, " + missing());
        if (datagrams_) return verdict();
        // Who sends byte after byte does not make us look at all of it each time.
        constexpr unsigned looks_max = 256;
        constexpr std::size_t then_each_bytes = 1024;
        if (++looks_ > looks_max && answer_.size() < looked_ + then_each_bytes) return {};
        looked_ = answer_.size();
        return missing().empty() ? verdict() : Step{};
    }

    Step on_tls() override { return unusable(name() + ": TLS begins with the first byte"); }
    Step on_end() override {
        return answer_.empty() ? down(name() + ": connection closed without an answer") : verdict();
    }
    [[nodiscard]] std::string waiting_for() const override { return "answer"; }

  private:
    [[nodiscard]] bool expects() const { return !expect_.empty() || Expectation(check_).any(); }
    [[nodiscard]] std::string name() const { return datagrams_ ? "UDP" : "TCP"; }
    [[nodiscard]] std::string missing() const {
        if (answer_.find(expect_) == std::string::npos) return "no \"" + printable(expect_, 60) + "\" in the answer";
        return Expectation(check_).missing(answer_);
    }
    [[nodiscard]] Step verdict() const {
        const std::string wrong = missing();
        const std::string answer = "\"" + shown(answer_, check_, 80) + '"';
        return wrong.empty() ? up(name() + ": " + answer) : down(name() + ": " + wrong + ": " + answer);
    }

    const config::Check& check_;
    bool datagrams_;
    std::string expect_;
    std::string answer_;
    unsigned looks_ = 0;
    std::size_t looked_ = 0;
};

}  // namespace

std::unique_ptr<Talk> make_raw_talk(const ProbeSpec& spec, bool datagrams) {
    return std::make_unique<RawTalk>(spec.check, datagrams);
}

}  // namespace lbcluster::health
