// SIP: OPTIONS (RFC 3261, 11), over UDP, TCP or TLS. Up: a final answer to this very request with a wanted status, else
// any 2xx. `rport` (RFC 3581) brings the answer back to the port it was asked from. An answer to another request is not
// looked at.
#include <algorithm>
#include <cctype>
#include <charconv>

#include "healthd/talk/expectation.hpp"
#include "healthd/talk/protocols.hpp"

namespace lbcluster::health {
namespace {

constexpr std::size_t sip_bytes_max = 16 * 1024;
constexpr unsigned final_status = 200;  // from here on

bool same_word(std::string_view a, std::string_view b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

// Of the first such header of a message; `compact` is its short name (7.3.3).
std::string_view header_of(std::string_view message, std::string_view name, std::string_view compact) {
    for (auto at = message.find('\n'); at != std::string_view::npos; at = message.find('\n')) {
        message.remove_prefix(at + 1);
        std::string_view line = message.substr(0, message.find('\n'));
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (line.empty()) return {};
        const auto colon = line.find(':');
        if (colon == std::string_view::npos) continue;
        std::string_view key = line.substr(0, colon);
        while (key.ends_with(' ') || key.ends_with('\t')) key.remove_suffix(1);
        if (!same_word(key, name) && !same_word(key, compact)) continue;
        std::string_view value = line.substr(colon + 1);
        value.remove_prefix(std::min(value.find_first_not_of(" \t"), value.size()));
        while (value.ends_with(' ') || value.ends_with('\t')) value.remove_suffix(1);
        return value;
    }
    return {};
}

class SipTalk final : public Talk {
  public:
    SipTalk(const ProbeSpec& spec, Random random)
        : spec_(spec),
          transport_(transport_of(spec.check)),
          branch_("z9hG4bK" + random_hex(random, 16)),
          tag_(random_hex(random, 12)),
          call_id_(random_hex(random, 24) + "@lbcluster.invalid") {}

    Step on_connected() override {
        const std::string uri = request_uri();
        constexpr std::string_view not_in_a_uri{"\r\n\0 <>", 6};
        if (uri.find_first_of(not_in_a_uri) != std::string::npos) {
            return unusable("SIP: request \"" + printable(uri, 80) + "\" is not a URI");
        }
        const char* transport = transport_ == Transport::udp ? "UDP" : transport_ == Transport::tls ? "TLS" : "TCP";
        std::string out = "OPTIONS " + uri + " SIP/2.0\r\n";
        out += std::string("Via: SIP/2.0/") + transport + " lbcluster.invalid;branch=" + branch_ + ";rport\r\n";
        out += "Max-Forwards: 70\r\n";
        out += "From: <sip:healthd@lbcluster.invalid>;tag=" + tag_ + "\r\n";
        out += "To: <" + uri + ">\r\n";
        out += "Call-ID: " + call_id_ + "\r\n";
        out += "CSeq: 1 OPTIONS\r\n";
        out += "Accept: application/sdp\r\n";
        out += "User-Agent: lbcluster\r\n";
        out += "Content-Length: 0\r\n\r\n";
        return say(std::move(out));
    }

    Step on_bytes(std::string_view bytes) override {
        if (transport_ == Transport::udp) return message(bytes);
        buffer_ += bytes;
        for (;;) {
            std::size_t size = 0;
            const std::string problem = size_of_first(size);
            if (!problem.empty()) return down("SIP: " + problem + ": \"" + shown(buffer_, spec_.check) + '"');
            if (size == 0) return {};
            Step step = message(std::string_view(buffer_).substr(0, size));
            buffer_.erase(0, size);
            if (step.next == Next::done) return step;
        }
    }

    Step on_tls() override { return unusable("SIP: TLS begins with the first byte"); }
    Step on_end() override { return down("SIP: connection closed before the answer to OPTIONS"); }
    [[nodiscard]] std::string waiting_for() const override { return "answer to OPTIONS"; }

  private:
    [[nodiscard]] std::string request_uri() const {
        if (!spec_.check.request().empty()) return spec_.check.request();
        const std::string address = spec_.address.to_string();
        const std::string host = spec_.address.is_v6() ? '[' + address + ']' : address;
        return (transport_ == Transport::tls ? "sips:" : "sip:") + host + ':' + std::to_string(spec_.port);
    }

    // On a stream: 0 while the first message is not whole. Returns what is wrong with it.
    std::string size_of_first(std::size_t& size) {
        // Blank lines before a message are ignored (7.5).
        buffer_.erase(0, std::min(buffer_.find_first_not_of("\r\n"), buffer_.size()));
        constexpr std::string_view begin = "SIP/2.0 ";
        const auto seen = std::min(begin.size(), buffer_.size());
        if (std::string_view(buffer_).substr(0, seen) != begin.substr(0, seen)) return "not a SIP answer";
        const auto head = buffer_.find("\r\n\r\n");
        if (head == std::string::npos) return buffer_.size() > sip_bytes_max ? "endless header" : "";
        const std::string_view text = header_of(buffer_, "Content-Length", "l");
        std::size_t body = 0;
        const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), body);
        if (!text.empty() && (error != std::errc{} || stop != text.data() + text.size())) return "bad Content-Length";
        if (body > sip_bytes_max) return "body too long";
        const std::size_t all = head + 4 + body;
        if (buffer_.size() >= all) size = all;
        return {};
    }

    // One whole message.
    [[nodiscard]] Step message(std::string_view text) const {
        const std::string_view line = text.substr(0, text.find_first_of("\r\n"));
        const std::string first = shown(line, spec_.check, 100);
        unsigned status = 0;
        constexpr std::string_view begin = "SIP/2.0 ";
        if (line.starts_with(begin)) {
            std::from_chars(line.data() + begin.size(), line.data() + line.size(), status);
        }
        if (status < 100 || status > 699) return down("SIP: not a SIP answer: \"" + first + '"');
        if (text.find("\r\n\r\n") == std::string_view::npos)
            return down("SIP: answer without its end: \"" + first + '"');
        if (header_of(text, "Call-ID", "i") != call_id_ ||
            header_of(text, "Via", "v").find(branch_) == std::string_view::npos) {
            return {};
        }
        if (status < final_status) return {};
        const std::string reason = "SIP: " + first.substr(begin.size());
        const auto& wanted = spec_.check.expect_status();
        const bool good =
            wanted.empty() ? status < 300 : std::find(wanted.begin(), wanted.end(), status) != wanted.end();
        if (!good) return down(reason + ", wanted " + wanted_text());
        const std::string missing = Expectation(spec_.check).missing(text);
        return missing.empty() ? up(reason) : down("SIP: " + missing);
    }

    [[nodiscard]] std::string wanted_text() const {
        std::string out;
        for (const auto status : spec_.check.expect_status())
            out += (out.empty() ? "" : " or ") + std::to_string(status);
        return out.empty() ? "200" : out;
    }

    const ProbeSpec& spec_;
    Transport transport_;
    std::string branch_;
    std::string tag_;
    std::string call_id_;
    std::string buffer_;
};

}  // namespace

std::unique_ptr<Talk> make_sip_talk(const ProbeSpec& spec, Random random) {
    return std::make_unique<SipTalk>(spec, random);
}

}  // namespace lbcluster::health
