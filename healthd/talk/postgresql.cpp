// PostgreSQL, protocol 3.0 (postgresql.org/docs, "Frontend/Backend Protocol").
//
// Without a user it is what pg_isready asks: a start message of user "lbcluster" goes out, and whatever the server
// answers shows that it takes connections - but for the errors that say it cannot: starting up, shutting down or
// recovering (57P..), too many connections (53...), its own troubles (58..., XX...). With a user: log in (cleartext,
// MD5 or SCRAM-SHA-256) until it is ready for a query.
#include <optional>

#include "healthd/talk/protocols.hpp"
#include "healthd/talk/scram.hpp"

namespace lbcluster::health {
namespace {

constexpr std::size_t postgresql_bytes_max = 16 * 1024;
constexpr std::uint32_t version_3 = 3U << 16U;
constexpr std::uint32_t ssl_request = 80877103;
constexpr std::string_view scram = "SCRAM-SHA-256";

enum Authentication : std::uint32_t {
    login_ok = 0,
    cleartext_password = 3,
    md5_password = 5,
    sasl = 10,
    sasl_continue = 11,
    sasl_final = 12,
};

std::string message(std::string_view type, std::string_view body) {
    std::string out(type);
    put_u32(out, static_cast<std::uint32_t>(body.size() + 4));
    return out += body;
}

class PostgresqlTalk final : public Talk {
  public:
    PostgresqlTalk(const config::Check& check, Random random) : check_(check), random_(random) {}

    Step on_connected() override {
        for (const std::string& value : {check_.user(), check_.password(), check_.database()}) {
            if (has_nul(value)) {
                return unusable("PostgreSQL: user, password or database contains NUL, which cannot be sent");
            }
        }
        if (!check_.tls().starttls()) return start();
        asking_for_tls_ = true;
        std::string request;
        put_u32(request, 8);
        put_u32(request, ssl_request);
        return say(std::move(request));
    }

    Step on_bytes(std::string_view bytes) override {
        buffer_ += bytes;
        if (asking_for_tls_) return on_tls_answer();
        Step all;
        for (;;) {
            ByteReader in(buffer_);
            const char type = static_cast<char>(in.u8());
            const std::uint32_t size = in.u32();
            if (in.ok() && (size < 4 || size > postgresql_bytes_max)) {
                return down("PostgreSQL: not PostgreSQL: \"" + shown(buffer_, check_) + '"');
            }
            const std::string_view body = in.bytes(in.ok() ? size - 4 : 0);
            if (!in.ok()) return all;
            Step step = on_message(type, body);
            buffer_.erase(0, 1 + size);
            step.send.insert(0, all.send);
            step.secret = step.secret || all.secret;
            all = std::move(step);
            if (all.next != Next::read) return all;
        }
    }

    Step on_tls() override {
        asking_for_tls_ = false;
        return start();
    }

    Step on_end() override { return down("PostgreSQL: connection closed before the " + waiting_for()); }
    [[nodiscard]] std::string waiting_for() const override {
        return asking_for_tls_ ? "answer to SSLRequest" : logged_in_ ? "readiness for a query" : "answer to the login";
    }

  private:
    [[nodiscard]] bool has_user() const { return !check_.user().empty(); }

    Step start() {
        std::string body;
        put_u32(body, version_3);
        const auto add = [&](std::string_view name, std::string_view value) {
            body.append(name).append(1, '\0').append(value).append(1, '\0');
        };
        add("user", has_user() ? check_.user() : "lbcluster");
        if (!check_.database().empty()) add("database", check_.database());
        add("application_name", "lbcluster");
        body += '\0';
        return say(message("", body));
    }

    Step on_tls_answer() {
        if (buffer_ == "S") {
            buffer_.clear();
            return {.next = Next::start_tls};
        }
        if (buffer_[0] == 'S') {
            return down("PostgreSQL: more bytes before the TLS handshake, as if somebody had put them in");
        }
        if (buffer_[0] == 'N') return down("PostgreSQL: the server offers no TLS");
        if (buffer_[0] != 'E') return down("PostgreSQL: not PostgreSQL: \"" + shown(buffer_, check_) + '"');
        // An error before TLS may be anybody's and is not shown (as libpq does it).
        return down("PostgreSQL: an error instead of an answer to SSLRequest");
    }

    Step on_message(char type, std::string_view body) {
        if (type == 'E') return on_error(body);
        if (type == 'N') return {};  // a notice
        if (!logged_in_) {
            if (type == 'R') return on_authentication(body);
        } else if (type == 'Z') {
            return up("PostgreSQL: logged in", message("X", ""));
        } else if (type == 'S' || type == 'K') {
            return {};  // a setting; the key to cancel with
        }
        return down(std::string("PostgreSQL: unexpected message '") + printable({&type, 1}, 8) + "' instead of the " +
                    waiting_for());
    }

    Step on_authentication(std::string_view body) {
        ByteReader in(body);
        const std::uint32_t kind = in.u32();
        if (!in.ok()) return down("PostgreSQL: malformed message");
        if (!has_user()) return up("PostgreSQL: accepts connections", kind == login_ok ? message("X", "") : "");
        const std::string& password = check_.password();
        switch (kind) {
            case login_ok:
                if (scram_ && !signature_checked_) return down("PostgreSQL: SCRAM-SHA-256 ended without a signature");
                logged_in_ = true;
                return {};
            case cleartext_password:
                return say(message("p", password + '\0'), true);
            case md5_password: {
                const std::string_view salt = in.bytes(4);
                if (!in.ok()) return down("PostgreSQL: malformed message");
                const std::string inner = to_hex(md5(password + check_.user())) + std::string(salt);
                return say(message("p", "md5" + to_hex(md5(inner)) + '\0'), true);
            }
            case sasl: {
                bool offered = false;
                while (!in.rest().empty()) offered = in.until_nul() == scram || offered;
                if (!offered) return down("PostgreSQL: offers no SCRAM-SHA-256");
                constexpr std::size_t nonce_bytes = 18;
                scram_.emplace("", password, to_base64(random_bytes(random_, nonce_bytes)));
                std::string out = std::string(scram) + '\0';
                const std::string first = scram_->client_first();
                put_u32(out, static_cast<std::uint32_t>(first.size()));
                return say(message("p", out + first), true);
            }
            case sasl_continue: {
                if (!scram_) break;
                const auto answer = scram_->client_final(in.rest());
                if (!answer) return down("PostgreSQL: SCRAM-SHA-256: " + answer.error().message);
                return say(message("p", *answer), true);
            }
            case sasl_final: {
                if (!scram_) break;
                const auto checked = scram_->check_server_final(in.rest());
                if (!checked) return down("PostgreSQL: SCRAM-SHA-256: " + checked.error().message);
                signature_checked_ = true;
                return {};
            }
            default:
                break;
        }
        return down("PostgreSQL: asks for authentication of kind " + std::to_string(kind) +
                    ", this check can cleartext, md5 and scram-sha-256");
    }

    // Fields: a letter and a text; C is the SQL state, M the message, S the severity.
    Step on_error(std::string_view body) {
        ByteReader in(body);
        std::string state;
        std::string text;
        while (in.ok()) {
            const char field = static_cast<char>(in.u8());
            if (field == '\0') break;
            const std::string_view value = in.until_nul();
            if (field == 'C') state = shown(value, check_, 10);
            if (field == 'M') text = shown(value, check_);
        }
        if (!in.ok() || state.empty()) return down("PostgreSQL: malformed error: \"" + shown(body, check_) + '"');
        const std::string reason = "PostgreSQL: " + state + ' ' + text;
        const bool cannot = state.starts_with("57") || state.starts_with("53") || state.starts_with("58") ||
                            state.starts_with("XX") || state.starts_with("08");
        const bool no_database = state == "3D000" && !check_.database().empty();
        if (has_user() || cannot || no_database) return down(reason);
        return up(reason);
    }

    const config::Check& check_;
    Random random_;
    std::string buffer_;
    std::optional<ScramSha256> scram_;
    bool asking_for_tls_ = false;
    bool signature_checked_ = false;
    bool logged_in_ = false;
};

}  // namespace

std::unique_ptr<Talk> make_postgresql_talk(const ProbeSpec& spec, Random random) {
    return std::make_unique<PostgresqlTalk>(spec.check, random);
}

}  // namespace lbcluster::health
