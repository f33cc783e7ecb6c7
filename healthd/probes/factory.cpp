#include "healthd/probes/factory.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <utility>

#include "healthd/probes/connect.hpp"
#include "healthd/probes/datagram.hpp"
#include "healthd/probes/external.hpp"
#include "healthd/talk/http.hpp"

namespace lbcluster::health {
namespace {

class ConstantProbe final : public PolledProbe {
  public:
    ConstantProbe(Poller& poller, Finding finding) : PolledProbe(poller), finding_(finding) {}

  private:
    void begin() override { settle(finding_, finding_ == Finding::up ? "always up" : "always down"); }
    void go_on(std::uint32_t /*events*/) override {}
    std::string waiting_for() const override { return {}; }

    Finding finding_;
};

std::size_t sockets_allowed() {
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return 512;
    return files.rlim_cur > 2 * ProbeFactory::descriptors_kept ? files.rlim_cur - ProbeFactory::descriptors_kept
                                                               : files.rlim_cur / 2;
}

// For SNI and verification.
std::string tls_name_of(const ProbeSpec& spec) {
    const config::Check& check = spec.check;
    if (!check.tls().server_name().empty()) return check.tls().server_name();
    if (!check.host().empty()) return host_name_of(check.host());
    return spec.virtual_address.empty() ? spec.address.to_string() : spec.virtual_address;
}

bool is_http(const config::Check& check) {
    return check.protocol() == config::CHECK_PROTOCOL_HTTP || check.protocol() == config::CHECK_PROTOCOL_HTTPS;
}

}  // namespace

ProbeFactory::ProbeFactory(boost::asio::io_context& io)
    : io_(io), poller_(io, sockets_allowed()), ping_v4_(poller_, false), ping_v6_(poller_, true), wardens_(io) {}

Result<std::unique_ptr<Probe>> ProbeFactory::make(const ProbeSpec& spec) {
    std::unique_ptr<Probe> probe;
    switch (spec.check.has_type() ? spec.check.type() : config::CHECK_TYPE_CONNECT) {
        case config::CHECK_TYPE_NEGOTIATE:
            return make_negotiate(spec);
        case config::CHECK_TYPE_EXTERNAL:
            return make_external(spec);
        case config::CHECK_TYPE_PING:
            probe = std::make_unique<PingProbe>(poller_, spec.address.is_v4() ? ping_v4_ : ping_v6_, spec.address);
            break;
        case config::CHECK_TYPE_ALWAYS_UP:
            probe = std::make_unique<ConstantProbe>(poller_, Finding::up);
            break;
        case config::CHECK_TYPE_ALWAYS_DOWN:
            probe = std::make_unique<ConstantProbe>(poller_, Finding::down);
            break;
        default:
            if (spec.port == 0) return Error{"connect has no port", "give 'port'"};
            probe = std::make_unique<ConnectProbe>(poller_, spec.address, spec.port);
    }
    return probe;
}

Result<std::unique_ptr<Probe>> ProbeFactory::make_negotiate(const ProbeSpec& spec) {
    if (spec.port == 0) return Error{"negotiate has no port", "give 'port'"};
    // Conversations look into it as long as the probe lives.
    auto kept = std::make_shared<const ProbeSpec>(spec);
    std::function<std::unique_ptr<Talk>()> make_conversation;
    if (is_http(spec.check)) {
        auto check = HttpCheck::make(*kept);
        if (!check) return check.error();
        make_conversation = [kept, check = *check] { return make_http_talk(check); };
    } else if (spec.check.protocol() != config::CHECK_PROTOCOL_TLS) {
        make_conversation = [kept] { return make_talk(*kept); };
    }
    const Transport transport = transport_of(spec.check);
    if (transport == Transport::udp) {
        return std::unique_ptr<Probe>(
            std::make_unique<DatagramProbe>(poller_, spec.address, spec.port, std::move(make_conversation)));
    }
    StreamSettings settings{spec.address, spec.port, std::move(make_conversation)};
    settings.tls_first = transport == Transport::tls;
    if (settings.tls_first || spec.check.tls().starttls()) {
        auto files = contexts_.get(spec.check.tls(), alpn_of(spec.check));
        if (!files) return files.error();
        settings.tls = std::move(*files);
        settings.tls_name = tls_name_of(spec);
    }
    return std::unique_ptr<Probe>(std::make_unique<StreamProbe>(poller_, std::move(settings)));
}

Result<std::unique_ptr<Probe>> ProbeFactory::make_external(const ProbeSpec& spec) {
    auto user = User::find(spec.check.run_as().empty() ? "nobody" : spec.check.run_as());
    if (!user) return Error{"run_as: " + user.error().message, user.error().hint, user.error().code};
    return std::unique_ptr<Probe>(std::make_unique<ExternalProbe>(io_, wardens_, spec, std::move(*user)));
}

std::unique_ptr<Probe> ProbeFactory::make_conversation(const IpAddress& address, std::uint16_t port,
                                                       std::function<std::unique_ptr<Talk>()> make_talk) {
    return std::make_unique<StreamProbe>(poller_, StreamSettings{address, port, std::move(make_talk)});
}

}  // namespace lbcluster::health
