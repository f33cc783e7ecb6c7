// lbcluster service ...: virtual services. KEY is the schema's dotted path, so that a key of config.proto is an option
// here without a line of code (OP-1, OP-3).
#include <CLI/App.hpp>
#include <memory>
#include <string>
#include <vector>

#include "change.hpp"
#include "commands.hpp"
#include "context.hpp"
#include "lbcluster/config/load.hpp"
#include "lbcluster/config/schema.hpp"
#include "lbcluster/config/services.hpp"
#include "service_view.hpp"

namespace lbcluster::cli {
namespace {

struct ServiceOptions : ChangeOptions {
    std::string label;
    std::vector<std::string> words;
};

void list_services(Context& context) {
    const auto loaded = load_to_show(context);
    if (!loaded) return;
    Json services = Json::array();
    std::string text;
    for (const config::VirtualService& service : loaded->effective_cluster.virtual_services()) {
        services.push_back(service_json(service));
        text += service_text(service);
    }
    if (context.json) return print_json({{"services", services}});
    print(text.empty() ? "There are no virtual services.\n" : text);
}

void show(Context& context, const ServiceOptions& options) {
    const auto loaded = load_to_show(context);
    if (!loaded) return;
    const config::ClusterConfig& cluster = loaded->effective_cluster;
    const int index = find_service(cluster, options.label);
    if (index < 0) return fail_no_service(context, cluster, options.label);
    if (context.json) return print_json(service_json(cluster.virtual_services(index)));
    print(config::to_yaml(cluster.virtual_services(index), config::Secrets::masked));
}

void add(Context& context, const ServiceOptions& options) {
    const auto loaded = load_for_change(context);
    if (!loaded) return;
    config::ClusterConfig cluster = loaded->cluster.config;
    if (find_service(cluster, options.label) >= 0) {
        fail(context, exit_refused,
             {"there is a virtual service '" + options.label + "' already", "'lbcluster service set' changes it"});
        return;
    }
    config::VirtualService& service = *cluster.add_virtual_services();
    service.set_label(options.label);
    if (!assign_words(context, service, options.words)) return;
    commit(context, *loaded, cluster, options, "service add " + options.label);
}

void set(Context& context, const ServiceOptions& options) {
    const auto loaded = load_for_change(context);
    if (!loaded) return;
    config::ClusterConfig cluster = loaded->cluster.config;
    const int index = find_service(cluster, options.label);
    if (index < 0) return fail_no_service(context, cluster, options.label);
    if (!assign_words(context, *cluster.mutable_virtual_services(index), options.words)) return;
    commit(context, *loaded, cluster, options, "service set " + options.label);
}

void remove(Context& context, const ServiceOptions& options) {
    const auto loaded = load_for_change(context);
    if (!loaded) return;
    config::ClusterConfig cluster = loaded->cluster.config;
    const int index = find_service(cluster, options.label);
    if (index < 0) return fail_no_service(context, cluster, options.label);
    cluster.mutable_virtual_services()->DeleteSubrange(index, 1);
    commit(context, *loaded, cluster, options, "service delete " + options.label);
}

// NAME, NAME-1, NAME-2 ...: the first that is free. A long name gives way to its number.
std::string free_label(const config::ClusterConfig& cluster, const std::string& wanted) {
    constexpr std::size_t label_max = 63;
    std::string label = wanted;
    for (int i = 1; find_service(cluster, label) >= 0; ++i) {
        const std::string number = "-" + std::to_string(i);
        label = wanted.substr(0, label_max - number.size()) + number;
    }
    return label;
}

bool is_valid(const config::ClusterConfig& cluster) {
    return config::load_texts(std::nullopt, config::to_yaml(cluster), "cluster.yaml", std::nullopt).ok();
}

// OP-3: with its real servers. What clashes is put in disabled, a clashing label gets a number.
void duplicate(Context& context, ServiceOptions options) {
    const auto loaded = load_for_change(context);
    if (!loaded) return;
    config::ClusterConfig cluster = loaded->cluster.config;
    const int index = find_service(cluster, options.label);
    if (index < 0) return fail_no_service(context, cluster, options.label);
    std::string wanted = options.label;
    if (!options.words.empty() && options.words.front().find('=') == std::string::npos) {
        wanted = options.words.front();
        options.words.erase(options.words.begin());
    }
    const std::string label = free_label(cluster, wanted);
    std::vector<std::string> notes;
    if (label != wanted) notes.push_back("Warning: '" + wanted + "' is in use; the copy is called '" + label + "'.");
    config::VirtualService copy = cluster.virtual_services(index);
    copy.set_label(label);
    if (!assign_words(context, copy, options.words)) return;
    config::VirtualService& added = *cluster.add_virtual_services();
    added = copy;
    if (!is_valid(cluster)) {
        added.set_enabled(false);
        if (is_valid(cluster)) {
            notes.push_back(
                "Warning: the copy clashes with a service that is there, so it is disabled. Change its "
                "address or ports, then: lbcluster service set " +
                label + " enabled=true");
        } else {
            added = copy;  // the mistake is another one: let the check say which
        }
    }
    Json extra{{"label", label}, {"enabled", config::is_on(added)}};
    commit(context, *loaded, cluster, options, "service duplicate " + options.label + " " + label, notes, extra);
}

}  // namespace

void register_service(CLI::App& app, Context& context) {
    auto options = std::make_shared<ServiceOptions>();
    auto* service = app.add_subcommand("service", "Virtual services: what clients connect to");
    service->require_subcommand(1);

    service->add_subcommand("list", "All of them with their real servers")->callback([&context] {
        list_services(context);
    });

    const auto verb = [&](const char* name, const char* text, const char* words,
                          void (*act)(Context&, const ServiceOptions&), bool changes) {
        auto* command = service->add_subcommand(name, text);
        command->add_option("LABEL", options->label, "Its label")->required();
        if (words != nullptr) command->add_option("KEY=VALUE", options->words, words);
        if (changes) add_change_options(command, *options);
        command->callback([&context, options, act] { act(context, *options); });
    };
    constexpr const char* keys =
        "Dotted keys of the schema: address=10.0.0.1 ports=80,443 check.type=ping; KEY= resets";
    verb("show", "One of them, with defaults", nullptr, show, false);
    verb("add", "Add one", keys, add, true);
    verb("set", "Change one", keys, set, true);
    verb("delete", "Delete one, with its real servers", nullptr, remove, true);
    verb(
        "duplicate", "Copy one with its real servers", "The new label, then KEY=VALUE",
        [](Context& c, const ServiceOptions& o) { duplicate(c, o); }, true);
}

}  // namespace lbcluster::cli
