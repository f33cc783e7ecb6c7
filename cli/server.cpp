// lbcluster server ...: the real servers of a virtual service. Drain, halt and online are configuration: they survive
// restarts, failovers and replication (HC-5, RE-4).
#include <CLI/App.hpp>
#include <memory>
#include <string>
#include <vector>

#include "change.hpp"
#include "commands.hpp"
#include "context.hpp"
#include "lbcluster/base/clock.hpp"
#include "lbcluster/base/time.hpp"
#include "lbcluster/config/load.hpp"
#include "service_view.hpp"

namespace lbcluster::cli {
namespace {

struct ServerOptions : ChangeOptions {
    std::string service;
    std::string label;
    std::vector<std::string> words;
    std::string deadline;  // of a drain
};

constexpr auto deadline_max = 31 * 24h;

void list(Context& context, const ServerOptions& options) {
    const auto loaded = load_to_show(context);
    if (!loaded) return;
    const config::ClusterConfig& cluster = loaded->effective_cluster;
    if (!options.service.empty() && find_service(cluster, options.service) < 0) {
        return fail_no_service(context, cluster, options.service);
    }
    Json servers = Json::array();
    std::string text;
    for (const config::VirtualService& service : cluster.virtual_services()) {
        if (!options.service.empty() && service.label() != options.service) continue;
        for (const config::RealServer& server : service.real_servers()) {
            Json one{{"service", service.label()}};
            one.update(server_json(service, server));
            servers.push_back(std::move(one));
            text += (options.service.empty() ? service.label() + "  " : "") + server_text(service, server);
        }
    }
    if (context.json) return print_json({{"servers", servers}});
    print(text.empty() ? "There are no real servers.\n" : text);
}

// Loads, finds the service, lets `change` work on it, puts it in force.
template <class Change>
void with_service(Context& context, const ServerOptions& options, const std::string& what, const Change& change,
                  const std::vector<std::string>& notes = {}) {
    const auto loaded = load_for_change(context);
    if (!loaded) return;
    config::ClusterConfig cluster = loaded->cluster.config;
    const int index = find_service(cluster, options.service);
    if (index < 0) return fail_no_service(context, cluster, options.service);
    if (!change(*cluster.mutable_virtual_services(index))) return;
    commit(context, *loaded, cluster, options, "server " + what + " " + options.service + " " + options.label, notes);
}

void add(Context& context, const ServerOptions& options) {
    with_service(context, options, "add", [&](config::VirtualService& service) {
        if (find_server(service, options.label) >= 0) {
            fail(context, exit_refused,
                 {"virtual service '" + service.label() + "' has a real server '" + options.label + "' already",
                  "'lbcluster server set' changes it"});
            return false;
        }
        config::RealServer& server = *service.add_real_servers();
        server.set_label(options.label);
        return assign_words(context, server, options.words);
    });
}

template <class Change>
void with_server(Context& context, const ServerOptions& options, const std::string& what, const Change& change,
                 const std::vector<std::string>& notes = {}) {
    const auto find_and_change = [&](config::VirtualService& service) {
        const int index = find_server(service, options.label);
        if (index < 0) {
            fail_no_server(context, service, options.label);
            return false;
        }
        return change(service, index);
    };
    with_service(context, options, what, find_and_change, notes);
}

void set(Context& context, const ServerOptions& options) {
    with_server(context, options, "set", [&](config::VirtualService& service, int index) {
        return assign_words(context, *service.mutable_real_servers(index), options.words);
    });
}

void remove(Context& context, const ServerOptions& options) {
    with_server(context, options, "delete", [&](config::VirtualService& service, int index) {
        service.mutable_real_servers()->DeleteSubrange(index, 1);
        return true;
    });
}

void set_state(Context& context, const ServerOptions& options, const std::string& what, config::ServerState state,
               const std::string& drain_until = "") {
    std::vector<std::string> notes;
    if (!drain_until.empty()) notes.push_back("It counts as halted from " + drain_until + " on.");
    with_server(
        context, options, what,
        [&](config::VirtualService& service, int index) {
            config::RealServer& server = *service.mutable_real_servers(index);
            server.set_state(state);
            server.clear_drain_until();
            if (!drain_until.empty()) server.set_drain_until(drain_until);
            return true;
        },
        notes);
}

// The deadline is a time in the configuration, so that it outlives restarts and is the same on both nodes.
void drain(Context& context, const ServerOptions& options) {
    if (options.deadline.empty()) return set_state(context, options, "drain", config::SERVER_STATE_DRAIN);
    const auto deadline = parse_duration(options.deadline);
    if (!deadline.ok() || *deadline <= 0ns || *deadline > deadline_max) {
        fail(context, exit_usage,
             {"--deadline " + options.deadline + ": " +
                  (deadline.ok() ? "must be more than 0 and at most 31 days" : deadline.error().message),
              "for example --deadline 10m"});
        return;
    }
    const auto wait_ms = std::chrono::ceil<std::chrono::milliseconds>(*deadline).count();
    set_state(context, options, "drain", config::SERVER_STATE_DRAIN,
              format_rfc3339(realtime_ms_now() + static_cast<std::uint64_t>(wait_ms)));
}

}  // namespace

void register_server(CLI::App& app, Context& context) {
    auto options = std::make_shared<ServerOptions>();
    auto* server = app.add_subcommand("server", "Real servers: what stands behind a virtual service");
    server->require_subcommand(1);

    auto* list_verb = server->add_subcommand("list", "Those of all services, or of one");
    list_verb->add_option("SERVICE", options->service, "Label of the virtual service");
    list_verb->callback([&context, options] { list(context, *options); });

    const auto verb = [&](const char* name, const char* text, bool words, auto act) {
        auto* command = server->add_subcommand(name, text);
        command->add_option("SERVICE", options->service, "Label of the virtual service")->required();
        command->add_option("LABEL", options->label, "Label of the real server")->required();
        if (words) {
            command->add_option("KEY=VALUE", options->words,
                                "Keys of the schema: address=10.0.0.5 weight=50; KEY= resets");
        }
        add_change_options(command, *options);
        command->callback([&context, options, act] { act(context, *options); });
        return command;
    };
    verb("add", "Add one", true, add);
    verb("set", "Change one", true, set);
    verb("delete", "Delete one", false, remove);
    auto* drain_verb = verb("drain", "No new connections, existing ones finish", false, drain);
    drain_verb->add_option("--deadline", options->deadline, "Halt it after this time: 10m, 2h; at most 31 days");
    drain_verb->footer(
        "The deadline is kept in the configuration (drain_until): it holds across restarts and take-overs. 'online',\n"
        "'halt' and another 'drain' end it.");
    verb("halt", "No connections at all", false,
         [](Context& c, const ServerOptions& o) { set_state(c, o, "halt", config::SERVER_STATE_HALT); });
    verb("online", "Back to work", false,
         [](Context& c, const ServerOptions& o) { set_state(c, o, "online", config::SERVER_STATE_ONLINE); });
}

}  // namespace lbcluster::cli
