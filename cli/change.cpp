#include "change.hpp"

#include <google/protobuf/util/message_differencer.h>
#include <lbcluster/state.pb.h>
#include <poll.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "lbcluster/base/time.hpp"
#include "lbcluster/bus/request.hpp"
#include "lbcluster/config/load.hpp"
#include "lbcluster/config/schema.hpp"
#include "lbcluster/config/services.hpp"
#include "lbcluster/machine/facts.hpp"

namespace lbcluster::cli {
namespace {

constexpr auto state_time = 1s;
constexpr std::array<const char*, 4> daemons{"heartbeatd", "healthd", "forwarderd", "replicatord"};

Result<std::optional<bus::NodeStatus>> node_status(const Context& context) {
    const auto items = bus::fetch(context.paths.socket_of("heartbeatd"), "node", state_time);
    if (!items.ok()) return items.error();
    for (const bus::Item& item : items.value()) {
        if (item.has_node()) return std::optional(item.node());
    }
    return std::optional<bus::NodeStatus>();
}

// There is no daemon, or none any more. Anything else may be one that was not reached.
bool is_gone(const Error& error) {
    return error.code == ENOENT || error.code == ECONNREFUSED || error.code == ECONNRESET;
}

struct Waited {
    std::vector<std::string> applied_by;
    std::string trouble;  // of a daemon that refused; empty: none did
    bool timed_out = false;
};

// One daemon until it reports this digest, refuses, or the time is over.
void wait_for(const Context& context, const std::string& daemon, const std::string& digest,
              std::chrono::steady_clock::time_point until, Waited& waited) {
    const std::string path = context.paths.socket_of(daemon);
    const auto left = [&] {
        return std::max(std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()),
                        std::chrono::milliseconds(1));
    };
    bus::Call reload;
    reload.mutable_reload();
    const auto reply = bus::call(path, reload, left());
    if (!reply.ok() && is_gone(reply.error())) return;
    if (reply.ok() ? reply.value().exit_code() != exit_done : reply.error().code != ETIMEDOUT) {
        waited.trouble = reply.ok() ? daemon + ": " + reply.value().message() : reply.error().message;
        return;
    }
    std::string error;
    while (std::chrono::steady_clock::now() < until) {
        const auto items = bus::fetch(path, "config", std::min<std::chrono::milliseconds>(left(), state_time));
        if (!items.ok() && is_gone(items.error())) return;  // it has ended: nothing to wait for
        if (!items.ok() && items.error().code != ETIMEDOUT) {
            waited.trouble = items.error().message;
            return;
        }
        for (const bus::Item& item : items.ok() ? items.value() : std::vector<bus::Item>{}) {
            if (!item.has_config()) continue;
            error = item.config().error();
            if (error.empty() && item.config().digest() == digest) {
                waited.applied_by.push_back(daemon);
                return;
            }
        }
        ::poll(nullptr, 0, 20);
    }
    if (error.empty()) {
        waited.timed_out = true;
    } else {
        waited.trouble = daemon + ": " + error;
    }
}

// What heartbeatd and the files in force call floating IPs.
std::set<IpPrefix> named_floating_ips(const Context& context) {
    std::set<IpPrefix> named;
    const auto add = [&named](const std::string& text) {
        if (const auto prefix = IpPrefix::parse(text)) named.insert(*prefix);
    };
    if (const auto node = node_status(context); node && *node) {
        for (const auto& one : (*node)->floating_ips()) add(one.address());
    }
    const auto loaded = config::load(context.paths, std::nullopt);
    for (const auto& one : config::all_floating_ips(loaded.cluster.config)) add(one.address());
    return named;
}

std::string list_of(const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
    return text;
}

void fail_invalid(Context& context, const Error& error, const config::Problems& problems) {
    if (context.json) {
        context.exit_code = exit_invalid;
        print_json({{"error", error_json(exit_invalid, error)}, {"problems", problems_json(problems)}});
        return;
    }
    for (const config::Problem& problem : problems) {
        std::fputs((harmless(config::format(problem)) + "\n").c_str(), stderr);
    }
    fail(context, exit_invalid, error);
}

Json applied_json(const config::Applied& applied, const Waited& waited, const std::vector<std::string>& notes) {
    return {{"result", "done"},
            {"revision", applied.revision},
            {"digest", applied.digest},
            {"changed", applied.changed},
            {"hand_edit", applied.hand_edit ? Json(*applied.hand_edit) : Json()},
            {"set_aside", applied.set_aside ? Json(applied.set_aside->folder) : Json()},
            {"applied_by", waited.applied_by},
            {"notes", notes},
            {"warnings", problems_json(applied.warnings)}};
}

std::string applied_text(const config::Applied& applied, const Waited& waited, bool in_force) {
    std::string text;
    if (applied.set_aside) {
        text += "What could be no revision was moved to " + applied.set_aside->folder + " (" +
                harmless(applied.set_aside->why) + ").\n";
    }
    if (applied.hand_edit) {
        text += "A change by hand was found and is kept as revision " + std::to_string(*applied.hand_edit) + ".\n";
    }
    const std::string number = std::to_string(applied.revision);
    if (!applied.changed) {
        text += "Nothing to change" + (applied.revision != 0 ? ": revision " + number + " is in force already" : "");
    } else {
        text += "Revision " + number + (in_force ? " is in force" : " is written");
    }
    return text + (waited.applied_by.empty() ? ".\n" : ", applied by " + list_of(waited.applied_by) + ".\n");
}

}  // namespace

std::optional<config::Facts> machine_facts(const Context& context) {
    return lbcluster::machine_facts(named_floating_ips(context));
}

bool may_change(Context& context) {
    const auto asked = node_status(context);
    if (!asked && (asked.error().code == EACCES || asked.error().code == EPERM)) {
        fail(context, exit_refused, asked.error());
        return false;
    }
    if (!asked || !*asked || (*asked)->activity() == "active") return true;
    const auto& node = *asked;
    if (node->peer().state() != "alive" || node->peer().activity() != "active") return true;
    const std::string peer = node->peer().name().empty() ? "the peer" : node->peer().name();
    fail(context, exit_refused,
         {"this node (" + node->name() + ") is " + node->activity() + ": the configuration is changed on " + peer +
              ", the active node",
          "run the command on " + peer + ", or make this node active first: lbcluster activate"});
    return false;
}

std::string author() {
    const char* caller = std::getenv("SUDO_USER");
    if (caller != nullptr && *caller != '\0') return caller;
    const passwd* user = ::getpwuid(::geteuid());
    return user != nullptr ? user->pw_name : "uid " + std::to_string(::geteuid());
}

Json problems_json(const config::Problems& problems) {
    Json list = Json::array();
    for (const config::Problem& problem : problems) {
        list.push_back({{"file", problem.file},
                        {"line", problem.line},
                        {"column", problem.column},
                        {"message", problem.message},
                        {"hint", problem.hint},
                        {"severity", problem.warning ? "warning" : "error"}});
    }
    return list;
}

void report_refusal(Context& context, const config::Refusal& refusal) {
    if (refusal.problems.empty()) {
        const int code = refusal.error.code;
        const bool refused = code == EACCES || code == EPERM || code == EWOULDBLOCK || code == EAGAIN;
        fail(context, refused ? exit_refused : exit_failed, refusal.error);
        return;
    }
    fail_invalid(context,
                 {"nothing was changed: " + refusal.error.message, "put right what is listed, and try again", 0},
                 refusal.problems);
}

Error invalid_error(const Context& context) {
    return {"the configuration in " + context.paths.config_dir + " is not valid", "put right what is listed", 0};
}

void report_invalid(Context& context, const config::LoadResult& loaded) {
    if (loaded.denied) fail(context, exit_refused, *loaded.denied);
    else fail_invalid(context, invalid_error(context), loaded.problems);
}

std::optional<config::LoadResult> load_to_show(Context& context) {
    auto loaded = config::load(context.paths, machine_facts(context));
    if (loaded.ok()) return loaded;
    report_invalid(context, loaded);
    return std::nullopt;
}

void report_applied(Context& context, const config::Applied& applied, const ChangeOptions& options,
                    const std::vector<std::string>& notes, const Json& extra) {
    const auto until = std::chrono::steady_clock::now() + wait_of(options);
    Waited waited;
    for (const char* daemon : daemons) {
        if (!options.no_wait && waited.trouble.empty()) wait_for(context, daemon, applied.digest, until, waited);
    }
    const std::string revision =
        applied.revision != 0 ? "revision " + std::to_string(applied.revision) : "what was changed by hand";
    Error error;
    if (!waited.trouble.empty()) {
        context.exit_code = exit_failed;
        error = {revision + " is written, but not in force everywhere: " + waited.trouble,
                 "'lbcluster config rollback' goes back to an older one; the daemon keeps working with what it had", 0};
    } else if (waited.timed_out) {
        context.exit_code = exit_timed_out;
        error = {revision + " is written, but not every daemon has taken it over within " + options.wait,
                 "see 'lbcluster status'; --wait gives it more time", ETIMEDOUT};
    }
    // What was done is told in either case: the change stands.
    if (context.json) {
        Json result = applied_json(applied, waited, notes);
        result.update(extra);
        if (!error.message.empty()) {
            result.erase("result");
            result["error"] = error_json(context.exit_code, error);
        }
        return print_json(result);
    }
    for (const config::Problem& problem : applied.warnings) {
        std::fputs((harmless(config::format(problem)) + "\n").c_str(), stderr);
    }
    print(applied_text(applied, waited, error.message.empty()));
    for (const std::string& note : notes) print(harmless(note) + "\n");
    if (!error.message.empty()) fail(context, context.exit_code, error);
}

// The configuration in force, to be changed; nothing after a refusal.
std::optional<config::LoadResult> load_for_change(Context& context) {
    if (!may_change(context)) return std::nullopt;
    auto loaded = config::load(context.paths, machine_facts(context));
    if (loaded.ok()) return loaded;
    if (loaded.denied) {
        fail(context, exit_refused, *loaded.denied);
    } else {
        report_refusal(context, {{"the configuration is not valid as it stands", "", 0}, loaded.problems});
    }
    return std::nullopt;
}

void commit(Context& context, const config::LoadResult& loaded, const config::ClusterConfig& cluster,
            const ChangeOptions& options, const std::string& what, std::vector<std::string> notes, Json extra) {
    if (google::protobuf::util::MessageDifferencer::Equals(cluster, loaded.cluster.config)) {
        // The file stays as it is, comments included.
        config::Applied same;
        same.revision = loaded.revision;
        same.digest = loaded.digest;
        same.changed = false;
        return report_applied(context, same, options, {}, extra);
    }
    config::Change change;
    change.author = author();
    change.reason = options.reason.empty() ? what : options.reason;
    change.expected_digest = loaded.digest;
    const auto before = config::read_text(context.paths.cluster_file());
    const auto applied = config::apply(context.paths, config::to_yaml(cluster), "cluster.yaml (as it would be)",
                                       machine_facts(context), change);
    if (!applied) return report_refusal(context, applied.error());
    if (applied->changed && before && config::has_comments(*before)) {
        const std::uint64_t kept_in = loaded.revision != 0 ? loaded.revision : applied->hand_edit.value_or(0);
        notes.push_back("The comments in cluster.yaml were dropped; they still stand in revision " +
                        std::to_string(kept_in) + " (lbcluster config diff " + std::to_string(kept_in) +
                        "). A 'note' is what lasts.");
        extra["comments_dropped"] = {{"revision", kept_in}};
    }
    report_applied(context, *applied, options, notes, extra);
}

}  // namespace lbcluster::cli
