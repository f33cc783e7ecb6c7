#include "complete.hpp"

#include <string_view>

#include "lbcluster/config/load.hpp"
#include "lbcluster/config/next_words.hpp"
#include "lbcluster/config/services.hpp"
#include "lbcluster/reference/completion.hpp"
#include "service_view.hpp"
#include "simulate.hpp"

namespace lbcluster::cli {
namespace {

using reference::Candidate;
using reference::Wanted;

// Where the files are: on the line, else in the environment.
config::Paths paths_of(const Wanted& wanted) {
    config::Paths paths = config::Paths::from_environment();
    const auto given = wanted.options;
    if (const auto it = given.find("--config-dir"); it != given.end()) paths.config_dir = it->second;
    if (const auto it = given.find("--state-dir"); it != given.end()) paths.state_dir = it->second;
    return paths;
}

std::vector<Candidate> services(const config::ClusterConfig& cluster) {
    std::vector<Candidate> out;
    for (const auto& service : cluster.virtual_services()) out.push_back({service.label(), service.address()});
    return out;
}

std::vector<Candidate> servers(const config::ClusterConfig& cluster, const std::string& label) {
    std::vector<Candidate> out;
    const int index = find_service(cluster, label);
    if (index < 0) return out;
    for (const auto& server : cluster.virtual_services(index).real_servers()) {
        out.push_back({server.label(), server.address()});
    }
    return out;
}

std::vector<Candidate> revisions(const config::Paths& paths) {
    std::vector<Candidate> out;
    for (const config::Revision& one : config::history(paths)) {
        out.push_back({std::to_string(one.number()), harmless(one.time() + " " + one.reason())});
    }
    return out;
}

std::vector<Candidate> keys(const std::string& noun, const std::string& begun) {
    std::vector<Candidate> out;
    const auto& type = noun == "server" ? *config::RealServer::descriptor() : *config::VirtualService::descriptor();
    for (const std::string& word : config::next_words(type, begun)) out.push_back({word, ""});
    return out;
}

std::vector<Candidate> floating_ips(const config::ClusterConfig& cluster) {
    std::vector<Candidate> out;
    for (const auto& one : cluster.floating_ips()) out.push_back({one.address(), one.label()});
    return out;
}

std::vector<Candidate> values(const Wanted& wanted) {
    const std::string& what = wanted.argument.value;
    const std::string noun = wanted.path.empty() ? "" : wanted.path.front();
    const std::string verb = wanted.path.empty() ? "" : wanted.path.back();
    if (!wanted.argument.names.empty()) return {};
    if (what == "REV") return revisions(paths_of(wanted));
    if (what == "KEY=VALUE") return keys(noun, wanted.begun);
    const bool is_new = verb == "add";
    const bool of_server = what == "SERVER" || (what == "LABEL" && noun == "server");
    const bool of_service = what == "SERVICE" || (what == "LABEL" && noun == "service");
    if ((of_service && noun == "service" && is_new) || (of_server && is_new)) return {};
    if (!of_server && !of_service && (what != "ADDRESS" || verb != "delete")) return {};
    const auto cluster = config::load(paths_of(wanted), std::nullopt).cluster.config;
    if (of_service) return services(cluster);
    if (of_server) return servers(cluster, wanted.operands.empty() ? "" : wanted.operands.front());
    return floating_ips(cluster);
}

}  // namespace

void complete(const CLI::App& app, Context context, const std::vector<std::string>& words) {
    reference::Completion found = reference::complete(reference::command_of(app), words, values);
    if (found.passes_on) {
        std::vector<std::string> arguments{"complete", "--"};
        arguments.insert(arguments.end(), found.passed_on.begin(), found.passed_on.end());
        static_cast<void>(exec_simulator(context, std::move(arguments)));  // returns only where there is none
        found = {};
    }
    print(reference::completion_text(found));
}

}  // namespace lbcluster::cli
