#include "service_view.hpp"

#include <algorithm>

#include "change.hpp"
#include "lbcluster/base/clock.hpp"
#include "lbcluster/config/schema.hpp"
#include "lbcluster/config/services.hpp"

namespace lbcluster::cli {
namespace {

std::string joined(const google::protobuf::RepeatedPtrField<std::string>& words) {
    std::string text;
    for (const std::string& word : words) text += (text.empty() ? "" : ",") + word;
    return text;
}

// The message as the schema writes it: enums in lower case, durations with units, secrets masked.
Json as_json(const google::protobuf::Message& message) { return Json::parse(config::to_json(message)); }

template <class List>
std::string near_one(const List& list, const std::string& label, const std::string& command) {
    std::vector<std::string> labels;
    for (const auto& one : list) labels.push_back(one.label());
    const std::string near = config::nearest(label, labels);
    return near.empty() ? "'lbcluster " + command + "' shows them" : "did you mean '" + near + "'?";
}

template <class List>
int find_label(const List& list, const std::string& label) {
    const auto found = std::find_if(list.begin(), list.end(), [&](const auto& one) { return one.label() == label; });
    return found == list.end() ? -1 : static_cast<int>(found - list.begin());
}

}  // namespace

int find_service(const config::ClusterConfig& cluster, const std::string& label) {
    return find_label(cluster.virtual_services(), label);
}
int find_server(const config::VirtualService& service, const std::string& label) {
    return find_label(service.real_servers(), label);
}

void fail_no_service(Context& context, const config::ClusterConfig& cluster, const std::string& label) {
    fail(context, exit_failed,
         {"there is no virtual service '" + label + "'", near_one(cluster.virtual_services(), label, "service list")});
}

void fail_no_server(Context& context, const config::VirtualService& service, const std::string& label) {
    fail(context, exit_failed,
         {"virtual service '" + service.label() + "' has no real server '" + label + "'",
          near_one(service.real_servers(), label, "server list " + service.label())});
}

bool assign_words(Context& context, google::protobuf::Message& message, const std::vector<std::string>& words) {
    config::Problems problems;
    for (const std::string& word : words) {
        const std::size_t equals = word.find('=');
        if (equals == std::string::npos || equals == 0) {
            fail(context, exit_usage, {"'" + word + "' is not KEY=VALUE", "write ports=80,443 or check.type=ping"});
            return false;
        }
        for (config::Problem& problem : config::assign(message, word.substr(0, equals), word.substr(equals + 1))) {
            problem.file = "'" + word.substr(0, equals) + "='";
            problems.push_back(std::move(problem));
        }
    }
    if (problems.empty()) return true;
    report_refusal(context, {{problems[0].message, problems[0].hint, 0}, problems});
    return false;
}

Json server_json(const config::VirtualService& service, const config::RealServer& server) {
    Json out = as_json(server);
    out["port"] = config::port_of(service, server);
    out["effective_state"] = config::written_text(config::effective_state(server, realtime_ms_now()));
    return out;
}

Json service_json(const config::VirtualService& service) {
    Json out = as_json(service);
    out.erase("real_servers");
    out["scheduler"] = Json();  // derived ones are shown as well
    config::VirtualService derived;
    derived.set_scheduler(config::scheduler_of(service));
    out["scheduler"] = as_json(derived)["scheduler"];
    out["layer"] = config::is_layer7(service) ? 7 : 4;
    out["servers"] = Json::array();
    for (const config::RealServer& server : service.real_servers()) {
        out["servers"].push_back(server_json(service, server));
    }
    return out;
}

std::string server_text(const config::VirtualService& service, const config::RealServer& server) {
    const Json json = server_json(service, server);
    std::string text = server.label() + "  " + server.address();
    if (const auto port = config::port_of(service, server); port != 0) text += " port " + std::to_string(port);
    text += "  weight " + std::to_string(server.weight()) + "  " + json["effective_state"].get<std::string>();
    if (server.has_drain_until()) {
        text += (json["effective_state"] == "drain" ? " until " : ", its drain ended ") + server.drain_until();
    }
    if (!server.enabled()) text += "  disabled";
    if (!server.note().empty()) text += "  " + harmless(server.note());
    return text + "\n";
}

std::string service_text(const config::VirtualService& service) {
    const Json json = service_json(service);
    std::string text = service.label() + "  " + service.address() + "  " + json["protocol"].get<std::string>() + " " +
                       joined(service.ports()) + "  " + json["method"].get<std::string>() + "  " +
                       json["scheduler"].get<std::string>();
    if (!service.enabled()) text += "  disabled";
    if (!service.note().empty()) text += "  " + harmless(service.note());
    text += "\n";
    for (const config::RealServer& server : service.real_servers()) text += "  " + server_text(service, server);
    return text;
}

}  // namespace lbcluster::cli
