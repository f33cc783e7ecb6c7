#include "change.hpp"

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
#include "lbcluster/net/netlink.hpp"

namespace lbcluster::cli {
namespace {

constexpr auto state_time = 1s;
constexpr auto wait_max = 1h;
constexpr std::array<const char*, 4> daemons{"heartbeatd", "healthd", "forwarderd", "replicatord"};

std::optional<bus::NodeStatus> node_status(const Context& context) {
    const auto items = bus::fetch(context.paths.socket_of("heartbeatd"), "node", state_time);
    if (!items.ok()) return std::nullopt;
    for (const bus::Item& item : items.value()) {
        if (item.has_node()) return item.node();
    }
    return std::nullopt;
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
    if (reply.ok() && reply.value().exit_code() != exit_done) {
        waited.trouble = daemon + ": " + reply.value().message();
        return;
    }
    std::string error;
    while (std::chrono::steady_clock::now() < until) {
        const auto items = bus::fetch(path, "config", std::min<std::chrono::milliseconds>(left(), state_time));
        if (!items.ok() && items.error().code != ETIMEDOUT) return;  // it has ended: nothing to wait for
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
    if (const auto node = node_status(context)) {
        for (const auto& one : node->floating_ips()) add(one.address());
    }
    const auto loaded = config::load(context.paths, std::nullopt);
    for (const auto& one : config::all_floating_ips(loaded.cluster.config)) add(one.address());
    return named;
}

// '#' outside of quotes, at the start of a line or after a blank.
bool has_comments(const std::string& text) {
    char quote = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        const bool after_blank = i == 0 || text[i - 1] == ' ' || text[i - 1] == '\t' || text[i - 1] == '\n';
        if (quote == '"' && c == '\\') {
            ++i;
        } else if (quote != 0) {
            if (c == quote) quote = 0;
        } else if (c == '#' && after_blank) {
            return true;
        } else if ((c == '"' || c == '\'') && (after_blank || text[i - 1] == '{' || text[i - 1] == '[')) {
            quote = c;
        }
    }
    return false;
}

std::string list_of(const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
    return text;
}

}  // namespace

std::optional<config::Facts> machine_facts(const Context& context) {
    auto netlink = net::Netlink::open();
    if (!netlink) return std::nullopt;
    const auto links = netlink->links();
    const auto addresses = netlink->addresses();
    if (!links || !addresses) return std::nullopt;
    const std::set<IpPrefix> floating = named_floating_ips(context);
    config::Facts facts;
    for (const net::Link& link : *links) {
        config::LocalInterface interface{link.name, {}};
        for (const net::Address& address : *addresses) {
            if (address.ifindex != link.index) continue;
            // Heartbeatd's own bear its mark; kernels before 5.18 keep none, but the lease shows.
            const bool leased = address.valid.has_value() && floating.contains(address.prefix);
            if (!address.ours() && !leased) interface.addresses.push_back(address.prefix);
        }
        facts.interfaces.push_back(std::move(interface));
    }
    return facts;
}

bool may_change(Context& context) {
    const auto node = node_status(context);
    if (!node || node->activity() == "active") return true;
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
    const Error error{"nothing was changed: " + refusal.error.message, "put right what is listed, and try again", 0};
    if (context.json) {
        context.exit_code = exit_invalid;
        print_json({{"error", {{"code", code_word(exit_invalid)}, {"message", error.message}, {"hint", error.hint}}},
                    {"problems", problems_json(refusal.problems)}});
        return;
    }
    for (const config::Problem& problem : refusal.problems) {
        std::fputs((harmless(config::format(problem)) + "\n").c_str(), stderr);
    }
    fail(context, exit_invalid, error);
}

void report_applied(Context& context, const config::Applied& applied, const ChangeOptions& options,
                    const std::vector<std::string>& notes, const Json& extra) {
    const auto wait = parse_duration(options.wait);
    const Duration patience = wait.ok() ? std::min<Duration>(*wait, wait_max) : Duration(10s);
    const auto until = std::chrono::steady_clock::now() + patience;
    Waited waited;
    for (const char* daemon : daemons) {
        if (options.no_wait || !bus::listens(context.paths.socket_of(daemon))) continue;
        wait_for(context, daemon, applied.digest, until, waited);
    }
    if (!waited.trouble.empty()) {
        fail(context, exit_failed,
             {"revision " + std::to_string(applied.revision) +
                  " is written, but not in force everywhere: " + waited.trouble,
              "'lbcluster config rollback' goes back to an older one; the daemon keeps working with what it had"});
        return;
    }
    if (waited.timed_out) {
        fail(context, exit_timed_out,
             {"revision " + std::to_string(applied.revision) +
                  " is written, but not every daemon has taken it over within " + options.wait,
              "see 'lbcluster status'; --wait gives it more time"});
        return;
    }
    if (context.json) {
        Json result{{"result", "done"},
                    {"revision", applied.revision},
                    {"digest", applied.digest},
                    {"changed", applied.changed},
                    {"hand_edit", applied.hand_edit ? Json(*applied.hand_edit) : Json()},
                    {"applied_by", waited.applied_by},
                    {"warnings", problems_json(applied.warnings)}};
        result.update(extra);
        print_json(result);
        return;
    }
    for (const config::Problem& problem : applied.warnings) {
        std::fputs((harmless(config::format(problem)) + "\n").c_str(), stderr);
    }
    std::string text;
    if (applied.hand_edit) {
        text += "A change by hand was found and is kept as revision " + std::to_string(*applied.hand_edit) + ".\n";
    }
    text += applied.changed
                ? "Revision " + std::to_string(applied.revision) + " is in force"
                : "Nothing to change: revision " + std::to_string(applied.revision) + " is in force already";
    text += waited.applied_by.empty() ? ".\n" : ", applied by " + list_of(waited.applied_by) + ".\n";
    for (const std::string& note : notes) text += harmless(note) + "\n";
    print(text);
}

// The configuration in force, to be changed; nothing after a refusal.
std::optional<config::LoadResult> load_for_change(Context& context) {
    if (!may_change(context)) return std::nullopt;
    auto loaded = config::load(context.paths, machine_facts(context));
    if (loaded.ok()) return loaded;
    report_refusal(context, {{"the configuration is not valid as it stands", "", 0}, loaded.problems});
    return std::nullopt;
}

void commit(Context& context, const config::LoadResult& loaded, const config::ClusterConfig& cluster,
            const ChangeOptions& options, const std::string& what, std::vector<std::string> notes, Json extra) {
    config::Change change;
    change.author = author();
    change.reason = options.reason.empty() ? what : options.reason;
    change.expected_digest = loaded.digest;
    const auto before = config::read_text(context.paths.cluster_file());
    const auto applied = config::apply(context.paths, config::to_yaml(cluster), "cluster.yaml (as it would be)",
                                       machine_facts(context), change);
    if (!applied) return report_refusal(context, applied.error());
    if (applied->changed && before && has_comments(*before)) {
        const std::uint64_t kept_in = loaded.revision != 0 ? loaded.revision : applied->hand_edit.value_or(0);
        notes.push_back("The comments in cluster.yaml were dropped; they still stand in revision " +
                        std::to_string(kept_in) + " (lbcluster config diff " + std::to_string(kept_in) +
                        "). A 'note' is what lasts.");
        extra["comments_dropped"] = {{"revision", kept_in}};
    }
    report_applied(context, *applied, options, notes, extra);
}

}  // namespace lbcluster::cli
