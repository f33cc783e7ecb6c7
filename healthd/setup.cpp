#include "healthd/setup.hpp"

#include <algorithm>

#include "lbcluster/config/services.hpp"

namespace lbcluster::health {

namespace {

Duration duration_or(bool given, const google::protobuf::Duration& value, Duration otherwise) {
    return given ? Duration{seconds{value.seconds()} + nanoseconds{value.nanos()}} : otherwise;
}

std::string log_level_of(config::LogLevel level) {
    switch (level) {
        case config::LOG_LEVEL_ERROR:
            return "error";
        case config::LOG_LEVEL_WARNING:
            return "warning";
        case config::LOG_LEVEL_DEBUG:
            return "debug";
        default:
            return "info";
    }
}

// Resolves one check for one server.
class TargetMaker {
  public:
    TargetMaker(const config::VirtualService& service, const config::RealServer& server, const IpAddress& address)
        : service_(service), server_(server), address_(address) {}

    Target make() {
        const config::Check& check = service_.check();
        target_.interval = duration_or(check.has_interval(), check.interval(), 4s);
        target_.timeout = std::min(config::timeout_of(check), target_.interval);
        target_.fall = check.has_fall() ? check.fall() : 2;
        target_.rise = check.has_rise() ? check.rise() : 2;
        target_.tree = tree_of(check);
        return std::move(target_);
    }

  private:
    CheckTree tree_of(const config::Check& check) {
        if (!check.all().empty()) return group(check.all(), static_cast<std::size_t>(check.all_size()));
        if (!check.any().empty()) return group(check.any(), 1);
        if (check.has_at_least()) return group(check.at_least().of(), check.at_least().count());
        const bool asks_port = check.type() != config::CHECK_TYPE_PING &&
                               check.type() != config::CHECK_TYPE_ALWAYS_UP &&
                               check.type() != config::CHECK_TYPE_ALWAYS_DOWN;
        if (!asks_port) return leaf(check, 0);
        if (check.port().empty()) return leaf(check, config::port_of(service_, server_));
        if (check.port_size() == 1) return leaf(check, static_cast<std::uint16_t>(check.port(0)));
        CheckTree tree;
        for (const std::uint32_t port : check.port())
            tree.parts.push_back(leaf(check, static_cast<std::uint16_t>(port)));
        tree.need = tree.parts.size();
        return tree;
    }

    template <class List>
    CheckTree group(const List& checks, std::size_t need) {
        CheckTree tree;
        tree.need = need;
        for (const config::Check& check : checks) tree.parts.push_back(tree_of(check));
        return tree;
    }

    CheckTree leaf(const config::Check& check, std::uint16_t port) {
        // Stripped before it is copied: a field that is cleared keeps its memory, for each of thousands of servers.
        config::Check bare = check;
        bare.clear_interval();
        bare.clear_timeout();
        bare.clear_fall();
        bare.clear_rise();
        bare.clear_feedback();
        bare.clear_port();
        ProbeSpec spec;
        spec.check.CopyFrom(bare);
        spec.address = address_;
        spec.port = port;
        const bool http =
            check.protocol() == config::CHECK_PROTOCOL_HTTP || check.protocol() == config::CHECK_PROTOCOL_HTTPS;
        if (check.type() == config::CHECK_TYPE_EXTERNAL || (http && !check.has_host())) {
            spec.virtual_address = service_.address();
            spec.virtual_port = config::first_port_of(service_);
        }
        CheckTree tree;
        tree.leaf = target_.leaves.size();
        target_.leaves.push_back(std::move(spec));
        return tree;
    }

    const config::VirtualService& service_;
    const config::RealServer& server_;
    IpAddress address_;
    Target target_;
};

std::uint16_t port_shown(const Target& target) {
    for (const ProbeSpec& leaf : target.leaves) {
        if (leaf.port != 0) return leaf.port;
    }
    return 0;
}

}  // namespace

Setup make_setup(const config::ClusterConfig& cluster) {
    Setup out;
    for (const config::VirtualService& service : cluster.virtual_services()) {
        if (!config::is_on(service)) continue;
        for (const config::RealServer* server : config::servers_of(service)) {
            const auto address = IpAddress::parse(server->address());
            if (!address) continue;  // the loader has refused it
            ServerSetup made{service.label(), server->label(), address->to_string()};
            made.online = server->state() != config::SERVER_STATE_DRAIN && server->state() != config::SERVER_STATE_HALT;
            made.target = out.plan.targets.size();
            out.plan.targets.push_back(TargetMaker(service, *server, *address).make());
            made.port = port_shown(out.plan.targets.back());
            if (service.check().has_feedback()) {
                const config::Feedback& feedback = service.check().feedback();
                Agent agent{*address};
                agent.port = static_cast<std::uint16_t>(feedback.has_port() ? feedback.port() : 3333);
                agent.interval = duration_or(feedback.has_interval(), feedback.interval(), 5s);
                made.agent = out.plan.agents.size();
                out.plan.agents.push_back(agent);
            }
            out.servers.push_back(std::move(made));
        }
    }
    return out;
}

Setup make_setup(const config::LoadResult& loaded) {
    Setup out = make_setup(loaded.effective_cluster);
    out.node = loaded.effective_node.node();
    out.log_level = log_level_of(loaded.effective_node.log_level());
    out.revision = loaded.revision;
    out.digest = loaded.digest;
    out.notify = notify_settings(loaded.effective_cluster, out.node);
    return out;
}

}  // namespace lbcluster::health
