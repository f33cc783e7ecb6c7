// lbcluster connections [SERVICE]: the kernel's connections of layer 4, counted by service and server, the most telling
// ones as a table, and what they say (L4-10). Reads the table once, needs no daemon; forwarderd only tells the marks.
#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "change.hpp"
#include "commands.hpp"
#include "context.hpp"
#include "layer4_view.hpp"
#include "page.hpp"
#include "service_view.hpp"

namespace lbcluster::cli {
namespace {

constexpr std::size_t limit_default = 20;
constexpr std::size_t limit_max = 100'000;

struct ConnectionsOptions {
    std::string service;
    std::size_t limit = limit_default;
};

// What is printed: the services asked for, each with what its connections say.
struct Report {
    std::vector<const config::VirtualService*> services;  // of layer 4, as in the tally
    std::vector<std::size_t> shown;                       // places in `services`
    std::vector<std::vector<Finding>> findings;           // one list for each shown service
};

std::vector<Finding> findings_of(const config::VirtualService& service, const ServiceCounts& counts,
                                 const std::vector<IpPrefix>& networks) {
    ServiceFacts facts = plain_facts(service);
    std::vector<Finding> out;
    for (std::size_t i = 0; i < facts.servers.size(); ++i) {
        facts.servers[i].seen = counts.servers[i];
        if (auto found = judge_traffic(facts, facts.servers[i], networks)) out.push_back(std::move(*found));
    }
    return out;
}

Json states_json(const Counts& counts) {
    Json out = Json::object();
    for (std::size_t i = 0; i < connection_states; ++i) {
        if (counts.by_state[i] != 0) out[std::string(word_of(static_cast<ConnectionState>(i)))] = counts.by_state[i];
    }
    return out;
}

Json counts_json(const Counts& counts) {
    return {{"connections", counts.connections()}, {"states", states_json(counts)}, {"from_peer", counts.from_peer}};
}

const char* word_of_protocol(const Connection& one) {
    return one.protocol == protocol_tcp ? "tcp" : one.protocol == protocol_udp ? "udp" : "any";
}

Json listed_json(const Tally& tally, const Listed& line) {
    const Connection& one = line.connection;
    const KnownService* service = line.service < 0 ? nullptr : &tally.known()[static_cast<std::size_t>(line.service)];
    const auto server = static_cast<std::size_t>(line.server);
    return {{"protocol", word_of_protocol(one)},
            {"state", word_of(one.state)},
            {"client", one.client.address.to_string()},
            {"client_port", one.client.port},
            {"address", one.virtual_end.address.to_string()},
            {"port", one.virtual_end.port},
            {"server_address", one.server.address.to_string()},
            {"server_port", one.server.port},
            {"service", service == nullptr ? "" : service->label},
            {"server", service == nullptr || line.server < 0 ? "" : service->servers[server].label},
            {"expires_s", one.expires_s},
            {"from_peer", one.from_peer}};
}

Json report_json(const Tally& tally, const Report& report) {
    Json services = Json::array();
    for (std::size_t n = 0; n < report.shown.size(); ++n) {
        const std::size_t at = report.shown[n];
        const ServiceCounts& counts = tally.services()[at];
        Json servers = Json::array();
        for (std::size_t i = 0; i < counts.servers.size(); ++i) {
            const KnownServer& server = tally.known()[at].servers[i];
            Json one = {{"label", server.label}, {"address", server.address.to_string()}};
            one.update(counts_json(counts.servers[i].counts));
            servers.push_back(std::move(one));
        }
        Json one = {{"label", report.services[at]->label()},
                    {"address", report.services[at]->address()},
                    {"method", word_of(forwarding_of(*report.services[at]))}};
        one.update(counts_json(counts.all()));
        one["servers"] = std::move(servers);
        one["others"] = counts_json(counts.others);
        one["findings"] = Json::array();
        for (const Finding& finding : report.findings[n]) one["findings"].push_back(finding_json(finding));
        services.push_back(std::move(one));
    }
    Json listed = Json::array();
    for (const Listed& line : tally.listed()) listed.push_back(listed_json(tally, line));
    return {{"services", services},
            {"connections", listed},
            {"unmatched", counts_json(tally.unmatched())},
            {"unreadable", tally.unreadable()}};
}

std::string counts_text(const Counts& counts) {
    std::string out;
    for (std::size_t i = 0; i < connection_states; ++i) {
        if (counts.by_state[i] == 0) continue;
        out += (out.empty() ? "" : ", ") + std::to_string(counts.by_state[i]) + " " +
               std::string(word_of(static_cast<ConnectionState>(i)));
    }
    if (counts.from_peer != 0) out += " (" + std::to_string(counts.from_peer) + " told by the peer)";
    return out.empty() ? "none" : out;
}

void add_service(const Tally& tally, const Report& report, std::size_t n, Page& page) {
    const std::size_t at = report.shown[n];
    const ServiceCounts& counts = tally.services()[at];
    const Counts all = counts.all();
    page.line(harmless(report.services[at]->label()) + "  " + report.services[at]->address() + "  " +
              std::string(word_of(forwarding_of(*report.services[at]))) + "  " + std::to_string(all.connections()) +
              (all.connections() == 1 ? " connection" : " connections"));
    for (std::size_t i = 0; i < counts.servers.size(); ++i) {
        const KnownServer& server = tally.known()[at].servers[i];
        page.wrapped(clip(harmless(server.label), label_width - 1),
                     server.address.to_string() + "  " + counts_text(counts.servers[i].counts), Level::good);
    }
    if (counts.others.connections() != 0 || counts.others.of(ConnectionState::persistence) != 0)
        page.wrapped("others", "fallback, and servers that are gone: " + counts_text(counts.others), Level::good);
    for (const Finding& finding : report.findings[n]) {
        page.wrapped("!", harmless(finding.text), finding.severity == Severity::alarm ? Level::bad : Level::warning);
    }
}

std::string time_text(std::uint32_t seconds) {
    std::array<char, 32> out{};
    std::snprintf(out.data(), out.size(), "%02u:%02u", seconds / 60, seconds % 60);
    return out.data();
}

void add_table(const Tally& tally, Page& page) {
    if (tally.listed().empty()) return;
    std::vector<std::array<std::string, 6>> rows{{"PROTO", "EXPIRES", "STATE", "CLIENT", "VIRTUAL", "SERVER"}};
    for (const Listed& line : tally.listed()) {
        const Connection& one = line.connection;
        std::string server = one.server.to_string();
        if (line.server >= 0) {
            server += "  " + harmless(tally.known()[static_cast<std::size_t>(line.service)]
                                          .servers[static_cast<std::size_t>(line.server)]
                                          .label);
        }
        if (one.from_peer) server += "  (told by the peer)";
        rows.push_back({upper(word_of_protocol(one)), time_text(one.expires_s), std::string(word_of(one.state)),
                        one.client.to_string(), one.virtual_end.to_string(), server});
    }
    std::array<std::size_t, 6> widths{};
    for (const auto& row : rows) {
        for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], columns(row[i]));
    }
    page.line();
    for (const auto& row : rows) {
        std::string text;
        for (std::size_t i = 0; i < row.size(); ++i) text += i + 1 < row.size() ? pad(row[i], widths[i] + 2) : row[i];
        page.line(text);
    }
}

std::string report_text(const Context& context, const Tally& tally, const Report& report,
                        const ConnectionsOptions& options) {
    Page page(context.color, page_columns);
    if (report.shown.empty()) page.line("No virtual service of layer 4 is configured.");
    std::uint64_t listable = options.service.empty()
                                 ? tally.unmatched().connections() + tally.unmatched().of(ConnectionState::persistence)
                                 : 0;
    for (std::size_t n = 0; n < report.shown.size(); ++n) {
        add_service(tally, report, n, page);
        const Counts all = tally.services()[report.shown[n]].all();
        listable += all.connections() + all.of(ConnectionState::persistence);
    }
    if (options.service.empty() && tally.unmatched().connections() != 0)
        page.line("of no configured service: " + counts_text(tally.unmatched()));
    add_table(tally, page);
    if (listable > tally.listed().size()) {
        page.line("... " + std::to_string(listable - tally.listed().size()) + " more" +
                  (options.limit < limit_max ? "; --limit shows them" : ""));
    }
    if (std::any_of(report.findings.begin(), report.findings.end(), [](const auto& one) { return !one.empty(); }))
        page.line("\n'lbcluster diagnose' finds out more, and says what to do.");
    return page.take();
}

// Nothing after fail().
std::optional<std::size_t> place_of(Context& context, const config::ClusterConfig& cluster, const Report& report,
                                    const std::string& label) {
    const int index = find_service(cluster, label);
    if (index < 0) {
        fail_no_service(context, cluster, label);
        return std::nullopt;
    }
    const config::VirtualService* service = &cluster.virtual_services(index);
    const auto found = std::find(report.services.begin(), report.services.end(), service);
    if (found != report.services.end()) return static_cast<std::size_t>(found - report.services.begin());
    fail(context, exit_failed,
         service->enabled()
             ? Error{"'" + label + "' is a service of layer 7: the kernel's table has none of its connections",
                     "'lbcluster status' counts them"}
             : Error{"'" + label + "' is disabled, so it has no connections",
                     "lbcluster service set " + label + " enabled=true"});
    return std::nullopt;
}

void run(Context& context, const ConnectionsOptions& options) {
    const auto loaded = load_to_show(context);
    if (!loaded) return;
    const config::ClusterConfig& cluster = loaded->effective_cluster;
    const auto forwarded = forward_services(context);
    Report report;
    std::vector<KnownService> known;
    for (const config::VirtualService& service : cluster.virtual_services()) {
        if (!is_layer4(service)) continue;
        report.services.push_back(&service);
        const bool told = forwarded.ok() && forwarded->contains(service.label());
        known.push_back(known_service(service, told ? forwarded->at(service.label()).mark() : 0));
    }
    std::optional<std::size_t> only;
    if (!options.service.empty()) {
        only = place_of(context, cluster, report, options.service);
        if (!only) return;
    }
    Tally tally(std::move(known), options.limit, only);
    if (const auto read = read_connections(tally); !read) {
        const int code = read.error().code;
        fail(context, code == EACCES || code == EPERM ? exit_refused : exit_failed, read.error());
        return;
    }
    const std::vector<IpPrefix> networks = own_networks(context);
    for (std::size_t i = 0; i < report.services.size(); ++i) {
        if (only && i != *only) continue;
        report.shown.push_back(i);
        report.findings.push_back(findings_of(*report.services[i], tally.services()[i], networks));
    }
    if (context.json) return print_json(report_json(tally, report));
    print(report_text(context, tally, report, options));
}

}  // namespace

void register_connections(CLI::App& app, Context& context) {
    auto options = std::make_shared<ConnectionsOptions>();
    auto* command = app.add_subcommand("connections", "Connections of layer 4, by service, server and state");
    command->add_option("SERVICE", options->service, "Label of the virtual service; default: all of them");
    command->add_option("--limit", options->limit, "How many connections to list; all are counted")
        ->check(CLI::Range(std::size_t{0}, limit_max))
        ->capture_default_str();
    command->footer(
        "Many in SYN_RECV: with dr the ARP problem, with nat a wrong default gateway of the server. A line below the\n"
        "service says so; 'lbcluster diagnose' finds out.");
    command->callback([&context, options] { run(context, *options); });
}

}  // namespace lbcluster::cli
