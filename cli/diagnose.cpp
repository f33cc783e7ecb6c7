// lbcluster diagnose [SERVICE]: what is wrong with this node and its services of layer 4, and what to do about it
// (L4-10). Looks and asks; changes nothing. Exit code 0: nothing is wrong, 1: something is.
#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "change.hpp"
#include "commands.hpp"
#include "context.hpp"
#include "diagnose_facts.hpp"
#include "layer4_view.hpp"
#include "lbcluster/config/applied.hpp"
#include "lbcluster/config/services.hpp"
#include "node_facts.hpp"
#include "page.hpp"
#include "service_view.hpp"

namespace lbcluster::cli {
namespace {

void add_finding(const Finding& finding, Page& page) {
    const Level level = finding.severity == Severity::alarm     ? Level::bad
                        : finding.severity == Severity::warning ? Level::warning
                                                                : Level::good;
    std::string where = finding.service;
    if (!finding.server.empty()) where += " / " + finding.server;
    page.wrapped(upper(std::string(word_of(finding.severity))),
                 harmless((where.empty() ? "" : where + ": ") + finding.text) + "  [" + finding.id + "]", level);
    for (std::size_t at = 0; at < finding.action.size();) {
        const std::size_t end = std::min(finding.action.find('\n', at), finding.action.size());
        page.row("", "    " + harmless(finding.action.substr(at, end - at)));  // a command stays on one line
        at = end + 1;
    }
}

std::string page_of(const Context& context, const std::vector<Finding>& findings, const Gathered& gathered) {
    Page page(context.color, page_columns);
    for (const Finding& finding : findings) add_finding(finding, page);
    if (findings.empty()) page.line(gathered.not_examined.empty() ? "Nothing is wrong." : "Nothing wrong was found.");
    for (const std::string& what : gathered.not_examined) page.wrapped("not examined", harmless(what), Level::warning);
    return page.take();
}

// What there is to look at. Of files that are not valid: their problems, and the rest as it was when they last were
// (heartbeatd keeps that), or node.yaml alone if they never were. Nothing after fail().
std::optional<config::LoadResult> load_to_diagnose(Context& context, std::vector<std::string>& not_examined) {
    auto loaded = config::load(context.paths, machine_facts(context));
    if (loaded.ok()) return loaded;
    if (loaded.denied) {
        report_invalid(context, loaded);
        return std::nullopt;
    }
    // An error that is one as the interfaces are now keeps no daemon from running with these files.
    auto used = config::load(context.paths, std::nullopt);
    if (!used.ok()) {
        used = config::load(config::applied_paths(context.paths), std::nullopt);
        not_examined.push_back(
            used.ok() ? "what is new in the files: services, links and ports are looked at as they were when the files "
                        "were valid last"
                      : "services and their ports: the files are not valid, and none that were are kept");
    }
    // The heartbeat's port and paths, as far as they are known; at last its defaults.
    for (const std::string& node : {loaded.node_text, std::string("node: unknown\n")}) {
        if (!used.ok()) used = config::load_texts(node, "{}\n", "cluster.yaml", std::nullopt);
    }
    used.problems = std::move(loaded.problems);
    return used;
}

void run(Context& context, const std::string& label) {
    Gathered gathered;
    const auto loaded = load_to_diagnose(context, gathered.not_examined);
    if (!loaded) return;
    gathered.facts.config_told = !loaded->ok();
    const config::ClusterConfig& cluster = loaded->effective_cluster;
    if (!label.empty()) {
        const int index = find_service(cluster, label);
        if (index < 0 && !loaded->ok()) return report_invalid(context, *loaded);
        if (index < 0) return fail_no_service(context, cluster, label);
        const config::VirtualService& service = cluster.virtual_services(index);
        if (!is_layer4(service)) {
            const bool enabled = service.enabled();
            fail(context, exit_failed,
                 {"'" + label + (enabled ? "' is a service of layer 7; this looks at layer 4" : "' is disabled"),
                  enabled ? "'lbcluster status' and 'lbcluster check " + label + "' tell of it"
                          : "lbcluster service set " + label + " enabled=true"});
            return;
        }
    }
    gather(context, *loaded, label.empty() ? std::nullopt : std::optional(label), gathered);
    std::vector<Finding> findings;
    if (label.empty()) findings = judge_node(gather_node(context, *loaded, gathered.not_examined));
    else findings = judge_errors(errors_of(loaded->problems));
    for (Finding& finding : judge(gathered.facts)) findings.push_back(std::move(finding));
    if (std::any_of(findings.begin(), findings.end(),
                    [](const Finding& one) { return one.severity != Severity::info; }))
        context.exit_code = exit_failed;
    if (!loaded->ok()) context.exit_code = exit_invalid;
    if (!context.json) return print(page_of(context, findings, gathered));
    Json list = Json::array();
    for (const Finding& finding : findings) list.push_back(finding_json(finding));
    Json result = {{"findings", list}, {"not_examined", gathered.not_examined}};
    if (!loaded->ok()) {
        result["error"] = error_json(exit_invalid, invalid_error(context));
        result["problems"] = problems_json(loaded->problems);
    }
    print_json(result);
}

}  // namespace

void register_diagnose(CLI::App& app, Context& context) {
    auto label = std::make_shared<std::string>();
    auto* command =
        app.add_subcommand("diagnose", "What is wrong with this node and its services, and what to do about it");
    command->add_option("SERVICE", *label, "Label of the virtual service; default: all of them, and this node");
    command->footer(
        "Run it as root on the active node: then it also asks who answers for the virtual addresses, and whether the\n"
        "servers take packets for them. Exit code 0: nothing is wrong; 1: something is, as listed;\n"
        "3: the configuration is not valid, and what else was found is listed, too.");
    command->callback([&context, label] { run(context, *label); });
}

}  // namespace lbcluster::cli
