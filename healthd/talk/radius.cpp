// RADIUS over UDP. With a user: Access-Request with PAP (RFC 2865); up is Access-Accept only: a check that logs in is
// to fail when the login does, as when the server has lost its directory. Without: Status-Server (RFC 5997), which
// every server answers that knows the shared secret. Both carry Message-Authenticator, first (RFC 3579, 3.2, and
// against Blast-RADIUS); in the answer the Response Authenticator must be right, and the Message-Authenticator if there
// is one.
#include "healthd/talk/protocols.hpp"

namespace lbcluster::health {
namespace {

constexpr std::uint8_t access_request = 1, access_accept = 2, access_reject = 3, accounting_response = 5,
                       access_challenge = 11, status_server = 12;
constexpr std::uint8_t user_name = 1, user_password = 2, reply_message = 18, nas_identifier = 32,
                       message_authenticator = 80;
constexpr std::size_t head_bytes = 20, authenticator_bytes = 16, packet_bytes_max = 4096;
constexpr std::size_t user_bytes_max = 253, password_bytes_max = 128;

void put_attribute(std::string& out, std::uint8_t type, std::string_view value) {
    out += static_cast<char>(type);
    out += static_cast<char>(value.size() + 2);
    out += value;
}

// RFC 2865, 5.2.
std::string hidden(std::string password, const std::string& secret, const std::string& authenticator) {
    password.resize(std::max<std::size_t>(1, (password.size() + 15) / 16) * 16, '\0');
    std::string out;
    for (std::size_t at = 0; at < password.size(); at += 16) {
        const std::string key = md5(secret + (at == 0 ? authenticator : out.substr(at - 16)));
        out += xor_bytes(password.substr(at, 16), key);
    }
    return out;
}

class RadiusTalk final : public Talk {
  public:
    RadiusTalk(const config::Check& check, Random random) : check_(check) {
        const std::string bytes = random_bytes(random, 1 + authenticator_bytes);
        id_ = bytes[0];
        authenticator_ = bytes.substr(1);
    }

    Step on_connected() override {
        if (check_.user().size() > user_bytes_max || check_.password().size() > password_bytes_max) {
            return unusable("RADIUS: a user has at most 253 bytes, a password 128");
        }
        const bool log_in = !check_.user().empty();
        std::string attributes;
        put_attribute(attributes, message_authenticator, std::string(authenticator_bytes, '\0'));
        if (log_in) {
            put_attribute(attributes, user_name, check_.user());
            put_attribute(attributes, user_password, hidden(check_.password(), check_.secret(), authenticator_));
        }
        put_attribute(attributes, nas_identifier, "lbcluster");
        std::string out(1, static_cast<char>(log_in ? access_request : status_server));
        out += id_;
        put_u16(out, static_cast<std::uint16_t>(head_bytes + attributes.size()));
        out += authenticator_ + attributes;
        out.replace(head_bytes + 2, authenticator_bytes, hmac_md5(check_.secret(), out));
        return say(std::move(out), true);
    }

    Step on_bytes(std::string_view datagram) override {
        ByteReader in(datagram);
        const std::uint8_t code = in.u8();
        const char id = static_cast<char>(in.u8());
        const std::size_t size = in.u16();
        const std::string authenticator(in.bytes(authenticator_bytes));
        if (!in.ok() || size < head_bytes || size > datagram.size() || size > packet_bytes_max) {
            return down("RADIUS: malformed answer");
        }
        if (id != id_) return {};                            // to another request
        const std::string packet(datagram.substr(0, size));  // what follows is padding
        const std::string attributes = packet.substr(head_bytes);
        const std::string head = packet.substr(0, 4);
        if (!equal_secretly(authenticator, md5(head + authenticator_ + attributes + check_.secret()))) {
            return down("RADIUS: wrong Response Authenticator: is the secret the same on both sides?");
        }
        if (const std::string problem = look_at(attributes, head); !problem.empty()) return down("RADIUS: " + problem);
        return verdict(code);
    }

    Step on_tls() override { return unusable("RADIUS: there is no TLS over UDP"); }
    Step on_end() override { return down("RADIUS: no answer"); }
    [[nodiscard]] std::string waiting_for() const override {
        return check_.user().empty() ? "answer to Status-Server" : "answer to Access-Request";
    }

  private:
    std::string look_at(const std::string& attributes, const std::string& head) {
        ByteReader in(attributes);
        while (!in.rest().empty()) {
            const std::size_t at = attributes.size() - in.rest().size();
            const std::uint8_t type = in.u8();
            const std::size_t size = in.u8();
            const std::string_view value = in.bytes(size < 2 ? in.rest().size() + 1 : size - 2);
            if (!in.ok()) return "malformed attributes";
            if (type == reply_message && message_.empty()) message_ = shown(value, check_, 80);
            if (type != message_authenticator) continue;
            if (value.size() != authenticator_bytes) return "malformed Message-Authenticator";
            std::string zeroed = attributes;
            zeroed.replace(at + 2, authenticator_bytes, std::string(authenticator_bytes, '\0'));
            if (!equal_secretly(value, hmac_md5(check_.secret(), head + authenticator_ + zeroed))) {
                return "wrong Message-Authenticator";
            }
        }
        return {};
    }

    [[nodiscard]] Step verdict(std::uint8_t code) const {
        const std::string said = message_.empty() ? "" : ": " + message_;
        const bool log_in = !check_.user().empty();
        if (code == access_accept) return up("RADIUS: Access-Accept" + said);
        if (code == accounting_response && !log_in) return up("RADIUS: answers Status-Server");
        const std::string name = code == access_reject      ? "Access-Reject"
                                 : code == access_challenge ? "Access-Challenge"
                                                            : "code " + std::to_string(code);
        return down("RADIUS: " + name + ", wanted Access-Accept" + said);
    }

    const config::Check& check_;
    char id_ = 0;
    std::string authenticator_;
    std::string message_;
};

}  // namespace

std::unique_ptr<Talk> make_radius_talk(const ProbeSpec& spec, Random random) {
    return std::make_unique<RadiusTalk>(spec.check, random);
}

}  // namespace lbcluster::health
