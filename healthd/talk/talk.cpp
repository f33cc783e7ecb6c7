#include "healthd/talk/talk.hpp"

#include "healthd/talk/dialogue.hpp"
#include "healthd/talk/http.hpp"
#include "healthd/talk/protocols.hpp"

namespace lbcluster::health {
namespace {

// The parameter of a SIP URI (RFC 3261, 19.1.1).
bool asks_for_tcp(std::string uri) {
    for (char& c : uri) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    return uri.find(";transport=tcp") != std::string::npos;
}

}  // namespace

Transport transport_of(const config::Check& check) {
    switch (check.protocol()) {
        case config::CHECK_PROTOCOL_DNS:
        case config::CHECK_PROTOCOL_RADIUS:
        case config::CHECK_PROTOCOL_UDP:
            return Transport::udp;
        case config::CHECK_PROTOCOL_HTTPS:
        case config::CHECK_PROTOCOL_TLS:
            return Transport::tls;
        case config::CHECK_PROTOCOL_SIP:
            if (!check.has_tls()) return asks_for_tcp(check.request()) ? Transport::tcp : Transport::udp;
            return Transport::tls;
        default:
            return check.has_tls() && !check.tls().starttls() ? Transport::tls : Transport::tcp;
    }
}

std::string_view alpn_of(const config::Check& check) {
    if (check.tls().starttls()) return "";
    switch (check.protocol()) {
        case config::CHECK_PROTOCOL_HTTPS:
            return "http/1.1";
        case config::CHECK_PROTOCOL_GRPC:
            return "h2";
        case config::CHECK_PROTOCOL_POSTGRESQL:
            return "postgresql";  // since 17, and then it must be there
        default:
            return "";
    }
}

std::unique_ptr<Talk> make_talk(const ProbeSpec& spec) {
    const auto dialogue = [&](const DialogueProtocol& protocol) {
        return std::make_unique<Dialogue>(protocol, spec.check);
    };
    switch (spec.check.protocol()) {
        case config::CHECK_PROTOCOL_HTTP:
        case config::CHECK_PROTOCOL_HTTPS:
            return make_http_talk(spec);
        case config::CHECK_PROTOCOL_SMTP:
            return dialogue(smtp_protocol());
        case config::CHECK_PROTOCOL_POP3:
            return dialogue(pop3_protocol());
        case config::CHECK_PROTOCOL_IMAP:
            return dialogue(imap_protocol());
        case config::CHECK_PROTOCOL_FTP:
            return dialogue(ftp_protocol());
        case config::CHECK_PROTOCOL_NNTP:
            return dialogue(nntp_protocol());
        case config::CHECK_PROTOCOL_REDIS:
            return dialogue(redis_protocol());
        case config::CHECK_PROTOCOL_LDAP:
            return make_ldap_talk(spec);
        case config::CHECK_PROTOCOL_DNS:
            return make_dns_talk(spec);
        case config::CHECK_PROTOCOL_MYSQL:
            return make_mysql_talk(spec);
        case config::CHECK_PROTOCOL_POSTGRESQL:
            return make_postgresql_talk(spec);
        case config::CHECK_PROTOCOL_RADIUS:
            return make_radius_talk(spec);
        case config::CHECK_PROTOCOL_SIP:
            return make_sip_talk(spec);
        case config::CHECK_PROTOCOL_GRPC:
            return make_grpc_talk(spec);
        case config::CHECK_PROTOCOL_TCP:
            return make_raw_talk(spec, false);
        case config::CHECK_PROTOCOL_UDP:
            return make_raw_talk(spec, true);
        default:
            return nullptr;
    }
}

}  // namespace lbcluster::health
