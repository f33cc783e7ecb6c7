// LDAP (RFC 4511): StartTLS if wanted, bind (anonymous, or simple with user and password), and with `request` a search
// of that very entry. BER by liblber, on memory only.
//
// Without user and request a server that refuses anonymous binds is up: it has answered. A user without a password
// would be an unauthenticated bind (RFC 4513, 5.1.2), which proves nothing, and is not sent.
#include <lber.h>
#include <ldap.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>

#include "healthd/talk/protocols.hpp"

namespace lbcluster::health {
namespace {

constexpr std::size_t ldap_bytes_max = 64 * 1024;

struct FreeBer {
    void operator()(BerElement* ber) const { ::ber_free(ber, 1); }
};
using Ber = std::unique_ptr<BerElement, FreeBer>;

Ber new_ber() {
    Ber ber(::ber_alloc_t(LBER_USE_DER));
    LBC_ASSERT(ber != nullptr);
    return ber;
}

std::string bytes_of(const Ber& ber) {
    berval flat{};
    LBC_ASSERT(::ber_flatten2(ber.get(), &flat, 0) == 0);
    return {flat.bv_val, flat.bv_len};
}

std::string result_name(int code) {
    struct Named {
        int code;
        const char* name;
    };
    static constexpr std::array names{Named{LDAP_SUCCESS, "success"},
                                      Named{LDAP_OPERATIONS_ERROR, "operationsError"},
                                      Named{LDAP_PROTOCOL_ERROR, "protocolError"},
                                      Named{LDAP_TIMELIMIT_EXCEEDED, "timeLimitExceeded"},
                                      Named{LDAP_STRONG_AUTH_REQUIRED, "strongerAuthRequired"},
                                      Named{LDAP_REFERRAL, "referral"},
                                      Named{LDAP_ADMINLIMIT_EXCEEDED, "adminLimitExceeded"},
                                      Named{LDAP_CONFIDENTIALITY_REQUIRED, "confidentialityRequired"},
                                      Named{LDAP_NO_SUCH_OBJECT, "noSuchObject"},
                                      Named{LDAP_INVALID_DN_SYNTAX, "invalidDNSyntax"},
                                      Named{LDAP_INAPPROPRIATE_AUTH, "inappropriateAuthentication"},
                                      Named{LDAP_INVALID_CREDENTIALS, "invalidCredentials"},
                                      Named{LDAP_INSUFFICIENT_ACCESS, "insufficientAccessRights"},
                                      Named{LDAP_BUSY, "busy"},
                                      Named{LDAP_UNAVAILABLE, "unavailable"},
                                      Named{LDAP_UNWILLING_TO_PERFORM, "unwillingToPerform"},
                                      Named{LDAP_OTHER, "other"}};
    const auto* found = std::find_if(names.begin(), names.end(), [&](const Named& n) { return n.code == code; });
    return (found == names.end() ? "result" : std::string(found->name)) + " (" + std::to_string(code) + ")";
}

// How long the first message is; 0: not known yet. Empty: it is no LDAP.
std::optional<std::size_t> message_size(std::string_view bytes) {
    constexpr unsigned char sequence = 0x30, long_form = 0x80, length_bytes_max = 4;
    ByteReader in(bytes);
    const unsigned char tag = in.u8();
    if (in.ok() && tag != sequence) return {};
    const unsigned char first = in.u8();
    if (!in.ok()) return 0;
    if (first < long_form) return 2U + first;
    const std::size_t count = first - long_form;
    if (count == 0 || count > length_bytes_max) return {};
    std::size_t size = 0;
    for (std::size_t i = 0; i < count; ++i) size = size << 8U | in.u8();
    if (!in.ok()) return 0;
    if (size > ldap_bytes_max) return {};
    return 2 + count + size;
}

class LdapTalk final : public Talk {
  public:
    explicit LdapTalk(const config::Check& check) : check_(check) {}

    Step on_connected() override {
        if (!check_.user().empty() && check_.password().empty()) {
            return unusable("LDAP: a user without a password proves nothing: give `password`, or no user");
        }
        return check_.tls().starttls() ? start_tls() : bind();
    }

    Step on_bytes(std::string_view bytes) override {
        buffer_ += bytes;
        Step all;
        for (;;) {
            const auto size = message_size(buffer_);
            if (!size) return down("LDAP: not LDAP: \"" + shown(buffer_, check_) + '"');
            if (*size == 0 || buffer_.size() < *size) return all;
            Step step = on_message(std::string_view(buffer_).substr(0, *size));
            buffer_.erase(0, *size);
            if (step.next == Next::start_tls && !buffer_.empty()) {
                return down("LDAP: more bytes before the TLS handshake, as if somebody had put them in");
            }
            step.send.insert(0, all.send);
            step.secret = step.secret || all.secret;
            all = std::move(step);
            if (all.next != Next::read) return all;
        }
    }

    Step on_tls() override { return bind(); }
    Step on_end() override { return down("LDAP: connection closed before the " + waiting_for()); }
    [[nodiscard]] std::string waiting_for() const override { return std::string("answer to ") + operation(); }

  private:
    [[nodiscard]] const char* operation() const {
        return wanted_ == LDAP_RES_EXTENDED ? "StartTLS" : wanted_ == LDAP_RES_BIND ? "bind" : "search";
    }

    Step start_tls() {
        wanted_ = LDAP_RES_EXTENDED;
        const Ber ber = new_ber();
        LBC_ASSERT(::ber_printf(ber.get(), "{it{ts}}", ++id_, LDAP_REQ_EXTENDED, LDAP_TAG_EXOP_REQ_OID,
                                LDAP_EXOP_START_TLS) >= 0);
        return say(bytes_of(ber));
    }

    Step bind() {
        wanted_ = LDAP_RES_BIND;
        const Ber ber = new_ber();
        const std::string& user = check_.user();
        const std::string password = user.empty() ? "" : check_.password();
        LBC_ASSERT(::ber_printf(ber.get(), "{it{ioto}}", ++id_, LDAP_REQ_BIND, LDAP_VERSION3, user.data(), user.size(),
                                LDAP_AUTH_SIMPLE, password.data(), password.size()) >= 0);
        return say(bytes_of(ber), true);
    }

    // The entry itself, without attributes ("1.1": RFC 4511, 4.5.1.8).
    Step search() {
        wanted_ = LDAP_RES_SEARCH_RESULT;
        constexpr int seconds_max = 0, types_only = 0, entries_max = 1;
        const std::string& base = check_.request();
        const Ber ber = new_ber();
        LBC_ASSERT(::ber_printf(ber.get(), "{it{oeeiibts{s}}}", ++id_, LDAP_REQ_SEARCH, base.data(), base.size(),
                                LDAP_SCOPE_BASE, LDAP_DEREF_NEVER, entries_max, seconds_max, types_only,
                                LDAP_FILTER_PRESENT, "objectClass", "1.1") >= 0);
        return say(bytes_of(ber));
    }

    static std::string unbind(int id) {
        const Ber ber = new_ber();
        LBC_ASSERT(::ber_printf(ber.get(), "{itn}", id, LDAP_REQ_UNBIND) >= 0);
        return bytes_of(ber);
    }

    Step on_message(std::string_view bytes) {
        berval value{bytes.size(), const_cast<char*>(bytes.data())};  // only read
        const Ber ber(::ber_init(&value));
        LBC_ASSERT(ber != nullptr);
        ber_int_t id = 0;
        if (::ber_scanf(ber.get(), "{i", &id) == LBER_ERROR) return down("LDAP: malformed message");
        ber_len_t length = 0;
        const ber_tag_t operation_tag = ::ber_peek_tag(ber.get(), &length);
        if (operation_tag == LBER_DEFAULT) return down("LDAP: malformed message");
        constexpr ber_int_t unsolicited = 0;
        if (id == id_ && wanted_ == LDAP_RES_SEARCH_RESULT) {
            if (operation_tag == LDAP_RES_SEARCH_ENTRY) {
                found_ = true;
                return {};
            }
            if (operation_tag == LDAP_RES_SEARCH_REFERENCE) return {};
        }
        const bool notice = id == unsolicited && operation_tag == LDAP_RES_EXTENDED;
        if (!notice && (id != id_ || operation_tag != wanted_)) {
            return down(std::string("LDAP: another message instead of the ") + waiting_for());
        }
        ber_int_t code = 0;
        berval matched{}, text{};
        if (::ber_scanf(ber.get(), "{emm", &code, &matched, &text) == LBER_ERROR) return down("LDAP: malformed result");
        const std::string said = text.bv_len == 0 ? "" : ": " + shown({text.bv_val, text.bv_len}, check_, 80);
        if (notice) return down("LDAP: the server ends the connection: " + result_name(code) + said);
        return on_result(code, said);
    }

    Step on_result(int code, const std::string& said) {
        const bool only_alive = check_.user().empty() && check_.request().empty() && wanted_ == LDAP_RES_BIND;
        const bool refused = code == LDAP_STRONG_AUTH_REQUIRED || code == LDAP_CONFIDENTIALITY_REQUIRED ||
                             code == LDAP_INAPPROPRIATE_AUTH;
        if (only_alive && refused) return up("LDAP: answers, " + result_name(code), unbind(id_ + 1));
        const std::string what = std::string("LDAP ") + operation() + ": ";
        if (code != LDAP_SUCCESS) return down(what + result_name(code) + said);
        if (wanted_ == LDAP_RES_EXTENDED) return {.next = Next::start_tls};
        if (wanted_ == LDAP_RES_BIND && !check_.request().empty()) return search();
        const std::string base = printable(check_.request(), 80);
        if (wanted_ == LDAP_RES_SEARCH_RESULT && !found_) return down(what + "no entry " + base);
        return up(found_ ? what + "found " + base : what + "success", unbind(id_ + 1));
    }

    const config::Check& check_;
    std::string buffer_;
    ber_int_t id_ = 0;
    ber_tag_t wanted_ = LDAP_RES_BIND;
    bool found_ = false;
};

}  // namespace

std::unique_ptr<Talk> make_ldap_talk(const ProbeSpec& spec) { return std::make_unique<LdapTalk>(spec.check); }

}  // namespace lbcluster::health
