// MySQL and MariaDB: client/server protocol 4.1 (dev.mysql.com/doc/dev/mysql-server, "Client/Server Protocol").
//
// Without a user the greeting decides. We do not hang up on it, as a server counts that as a failed handshake and after
// max_connect_errors blocks our address, which may be the one all clients come from: a login of nobody is sent, which
// is not waited for. With a user: mysql_native_password or caching_sha2_password; its full exchange sends the password
// as it is, so only within TLS. Plugins that would make us send the password in the clear are refused.
#include <array>

#include "healthd/talk/protocols.hpp"

namespace lbcluster::health {
namespace {

constexpr std::size_t mysql_packet_bytes_max = 16 * 1024;
constexpr std::uint32_t long_password = 1U << 0U;
constexpr std::uint32_t connect_with_database = 1U << 3U;
constexpr std::uint32_t protocol_41 = 1U << 9U;
constexpr std::uint32_t ssl = 1U << 11U;
constexpr std::uint32_t secure_connection = 1U << 15U;
constexpr std::uint32_t plugin_auth = 1U << 19U;

constexpr std::uint8_t ok_packet = 0x00, more_data = 0x01, switch_request = 0xfe, error_packet = 0xff;
constexpr char fast_login_done = 0x03, full_login_wanted = 0x04;
constexpr std::string_view native = "mysql_native_password", caching = "caching_sha2_password";
constexpr std::size_t nonce_bytes = 20;

void put_u32_le(std::string& out, std::uint32_t value) {
    for (unsigned shift = 0; shift < 32; shift += 8) out += static_cast<char>(value >> shift & 0xffU);
}

std::string packet(std::string_view payload, std::uint8_t sequence) {
    std::string out;
    put_u32_le(out, static_cast<std::uint32_t>(payload.size()));
    out.back() = static_cast<char>(sequence);
    return out += payload;
}

// What proves the password for this nonce; for a plugin that is not known nothing.
std::string proof(std::string_view plugin, const std::string& password, const std::string& nonce) {
    if (password.empty()) return {};
    if (plugin == native) return xor_bytes(sha1(nonce + sha1(sha1(password))), sha1(password));
    if (plugin == caching) return xor_bytes(sha256(password), sha256(sha256(sha256(password)) + nonce));
    return {};
}

class MysqlTalk final : public Talk {
  public:
    explicit MysqlTalk(const config::Check& check) : check_(check) {}

    Step on_connected() override {
        for (const std::string& value : {check_.user(), check_.password(), check_.database()}) {
            if (has_nul(value)) return unusable("MySQL: user, password or database contains NUL, which cannot be sent");
        }
        return {};
    }

    Step on_bytes(std::string_view bytes) override {
        buffer_ += bytes;
        Step all;
        for (;;) {
            ByteReader head(buffer_);
            const std::size_t size = head.u24_le();
            const std::uint8_t sequence = head.u8();
            if (head.ok() && size > mysql_packet_bytes_max) {
                return down("MySQL: not MySQL: \"" + shown(buffer_, check_) + '"');
            }
            const std::string_view payload = head.bytes(size);
            if (!head.ok()) return all;
            Step step = on_packet(payload, static_cast<std::uint8_t>(sequence + 1));
            buffer_.erase(0, 4 + size);
            if (step.next == Next::start_tls && !buffer_.empty()) {
                return down("MySQL: more bytes before the TLS handshake, as if somebody had put them in");
            }
            step.send.insert(0, all.send);
            step.secret = step.secret || all.secret;
            all = std::move(step);
            if (all.next != Next::read) return all;
        }
    }

    Step on_tls() override {
        tls_ = true;
        return log_in(2);
    }

    Step on_end() override { return down("MySQL: connection closed before the " + waiting_for()); }
    [[nodiscard]] std::string waiting_for() const override { return greeted_ ? "answer to the login" : "greeting"; }

  private:
    Step on_packet(std::string_view payload, std::uint8_t next_sequence) {
        if (payload.empty()) return down("MySQL: empty packet instead of the " + waiting_for());
        if (static_cast<std::uint8_t>(payload[0]) == error_packet) return error(payload);
        return greeted_ ? on_login_answer(payload, next_sequence) : on_greeting(payload);
    }

    Step on_greeting(std::string_view payload) {
        constexpr std::uint8_t version_10 = 10;
        ByteReader in(payload);
        const std::uint8_t version = in.u8();
        server_ = shown(in.until_nul(), check_, 60);
        in.bytes(4);  // thread id
        nonce_ = in.bytes(8);
        in.bytes(1);
        std::uint32_t offers = in.u16_le();
        in.bytes(3);  // character set, status
        offers |= static_cast<std::uint32_t>(in.u16_le()) << 16U;
        in.bytes(1 + 10);  // length of the nonce: fixed in fact; reserved
        if (version == version_10 && in.ok() && (offers & (protocol_41 | secure_connection)) == 0) {
            return down("MySQL: " + server_ + " is older than 4.1");
        }
        nonce_ += in.bytes(nonce_bytes - 8);
        in.bytes(1);
        if (version != version_10 || !in.ok()) {
            return down("MySQL: no greeting of protocol 10: \"" + shown(payload, check_) + '"');
        }
        plugin_ = (offers & plugin_auth) != 0 ? std::string(in.rest().substr(0, in.rest().find('\0'))) : native;
        greeted_ = true;
        if (!check_.tls().starttls()) {
            tls_ = check_.has_tls();
            return log_in(1);
        }
        if ((offers & ssl) == 0) return down("MySQL: " + server_ + " offers no TLS");
        return {.next = Next::start_tls, .send = packet(login_head(), 1)};
    }

    // The first fields of a login, which alone are the request for TLS.
    [[nodiscard]] std::string login_head() const {
        std::uint32_t wants = long_password | protocol_41 | secure_connection | plugin_auth;
        if (check_.tls().starttls()) wants |= ssl;
        if (!check_.user().empty() && !check_.database().empty()) wants |= connect_with_database;
        constexpr char utf8 = 33;
        std::string out;
        put_u32_le(out, wants);
        put_u32_le(out, mysql_packet_bytes_max);
        out += utf8;
        return out.append(23, '\0');
    }

    Step log_in(std::uint8_t sequence) {
        const bool nobody = check_.user().empty();
        // Of a plugin that we cannot: the server will tell whether this user has it.
        if (!nobody && plugin_ != caching) plugin_ = native;
        const std::string data = nobody ? "" : proof(plugin_, check_.password(), nonce_);
        std::string out = login_head() + check_.user() + '\0' + static_cast<char>(data.size()) + data;
        if (!nobody && !check_.database().empty()) out += check_.database() + '\0';
        out += plugin_ + '\0';
        if (nobody) return up("MySQL: " + server_, packet(out, sequence));
        return say(packet(out, sequence), true);
    }

    Step on_login_answer(std::string_view payload, std::uint8_t sequence) {
        switch (static_cast<std::uint8_t>(payload[0])) {
            case ok_packet:
                return up("MySQL: " + server_ + ", logged in", packet("\x01", 0));  // COM_QUIT
            case switch_request: {
                ByteReader in(payload.substr(1));
                plugin_ = in.until_nul();
                nonce_ = in.bytes(nonce_bytes);
                if (!in.ok() || (plugin_ != native && plugin_ != caching)) {
                    return down("MySQL: " + server_ + " asks this user for " + shown(plugin_, check_, 40) +
                                ", which this check cannot; give it mysql_native_password or caching_sha2_password");
                }
                return say(packet(proof(plugin_, check_.password(), nonce_), sequence), true);
            }
            case more_data:
                if (plugin_ != caching || payload.size() != 2) break;
                if (payload[1] == fast_login_done) return {};
                if (payload[1] != full_login_wanted) break;
                if (!tls_) {
                    return down("MySQL: caching_sha2_password wants the whole password, which is sent only with TLS: " +
                                std::string("give tls, or let this user log in once elsewhere"));
                }
                return say(packet(check_.password() + '\0', sequence), true);
            default:
                break;
        }
        return down("MySQL: unknown answer to the login: \"" + shown(payload, check_) + '"');
    }

    [[nodiscard]] Step error(std::string_view payload) const {
        ByteReader in(payload.substr(1));
        const unsigned code = in.u16_le();
        std::string_view text = in.rest();
        if (text.starts_with('#')) text.remove_prefix(std::min<std::size_t>(6, text.size()));  // SQL state
        return down("MySQL: " + std::to_string(code) + ' ' + shown(text, check_));
    }

    const config::Check& check_;
    std::string buffer_;
    std::string server_;  // its version
    std::string nonce_;
    std::string plugin_;
    bool greeted_ = false;
    bool tls_ = false;
};

}  // namespace

std::unique_ptr<Talk> make_mysql_talk(const ProbeSpec& spec) { return std::make_unique<MysqlTalk>(spec.check); }

}  // namespace lbcluster::health
