// lbcluster check SERVICE [SERVER]: healthd probes now, once, and tells what was sent and what came back (HC-1 to
// HC-3). It changes no verdict.
#include <CLI/App.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "commands.hpp"
#include "context.hpp"
#include "lbcluster/bus/request.hpp"
#include "lbcluster/config/load.hpp"
#include "lbcluster/config/services.hpp"
#include "service_view.hpp"

namespace lbcluster::cli {
namespace {

constexpr auto patience = 10s;  // beyond the deadline of the probe itself: it may have to wait for its turn

struct CheckOptions {
    std::string service;
    std::string server;
};

bool is_good(const bus::ProbeReport& probe) { return probe.finding() == "up" || probe.finding() == "standby"; }

Json probe_json(const bus::ProbeReport& probe) {
    return {{"service", probe.service()}, {"server", probe.server()},        {"address", probe.address()},
            {"port", probe.port()},       {"finding", probe.finding()},      {"reason", probe.reason()},
            {"took_us", probe.took_us()}, {"transcript", probe.transcript()}};
}

std::string probe_text(const Context& context, const bus::ProbeReport& probe) {
    const char* color = probe.finding() == "up" ? "32" : probe.finding() == "standby" ? "36" : "1;31";
    const std::string finding = harmless(probe.finding());
    std::array<char, 32> took{};
    std::snprintf(took.data(), took.size(), "%.1f ms", static_cast<double>(probe.took_us()) / 1000.0);
    std::string text = harmless(probe.server()) + "  " + harmless(probe.address());
    if (probe.port() != 0) text += " port " + std::to_string(probe.port());
    text += "  " + (context.color ? "\x1b[" + std::string(color) + "m" + finding + "\x1b[0m" : finding) + " after " +
            took.data();
    if (!probe.reason().empty()) text += ": " + harmless(probe.reason());
    text += "\n";
    for (std::string_view rest = probe.transcript(); !rest.empty();) {
        const std::size_t end = std::min(rest.find('\n'), rest.size());
        text += "    " + harmless(rest.substr(0, end)) + "\n";
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return text;
}

// False after fail(). A configuration that cannot be read is no reason not to ask: healthd has its own.
bool is_known(Context& context, const CheckOptions& options, std::chrono::milliseconds& deadline) {
    const auto loaded = config::load(context.paths, std::nullopt);
    if (!loaded.ok()) return true;
    const config::ClusterConfig& cluster = loaded.effective_cluster;
    const int index = find_service(cluster, options.service);
    if (index < 0) {
        fail_no_service(context, cluster, options.service);
        return false;
    }
    const config::VirtualService& service = cluster.virtual_services(index);
    if (!options.server.empty() && find_server(service, options.server) < 0) {
        fail_no_server(context, service, options.server);
        return false;
    }
    deadline = std::chrono::ceil<std::chrono::milliseconds>(config::timeout_of(service.check()));
    return true;
}

void run(Context& context, const CheckOptions& options) {
    std::chrono::milliseconds deadline = 1h;
    if (!is_known(context, options, deadline)) return;
    bus::Call call;
    call.mutable_probe_now()->set_service(options.service);
    call.mutable_probe_now()->set_server(options.server);
    const auto reply = bus::call(context.paths.socket_of("healthd"), call, deadline + patience);
    if (!reply.ok()) {
        fail(context, bus::exit_code_of(reply.error()), reply.error());
        return;
    }
    if (reply->exit_code() != exit_done) {
        const std::uint32_t code = reply->exit_code();
        fail(context, code <= exit_timed_out ? static_cast<int>(code) : exit_failed, {reply->message(), reply->hint()});
        return;
    }
    const auto& probes = reply->probes();
    const auto good = std::count_if(probes.begin(), probes.end(), is_good);
    if (probes.empty() || good != probes.size()) context.exit_code = exit_failed;
    if (context.json) {
        Json list = Json::array();
        for (const bus::ProbeReport& probe : probes) list.push_back(probe_json(probe));
        return print_json({{"probes", list}, {"good", good}, {"message", reply->message()}});
    }
    for (const bus::ProbeReport& probe : probes) print(probe_text(context, probe));
    if (!reply->message().empty()) print(harmless(reply->message()) + "\n");
    if (probes.empty()) print("There was nothing to probe: '" + harmless(options.service) + "' has no real server.\n");
}

}  // namespace

void register_check(CLI::App& app, Context& context) {
    auto options = std::make_shared<CheckOptions>();
    auto* command = app.add_subcommand("check", "Probe now; shows what was sent and what came back");
    command->add_option("SERVICE", options->service, "Label of the virtual service")->required();
    command->add_option("SERVER", options->server, "Label of one of its real servers; default: all of them");
    command->footer(
        "healthd probes once and changes no verdict. Exit code 0: every server is up or on standby;\n"
        "1: one is not; 4: healthd is not running.");
    command->callback([&context, options] { run(context, *options); });
}

}  // namespace lbcluster::cli
