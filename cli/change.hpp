// What all verbs share that change the configuration: who may, with which facts it is checked, and waiting until the
// daemons that run have taken it over ('Who may change' in cli-and-config).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "context.hpp"
#include "lbcluster/config/store.hpp"
#include "wait.hpp"

namespace CLI {
class App;
}

namespace lbcluster::cli {

struct ChangeOptions : WaitOptions {
    std::string reason;
};

// --wait, --no-wait, --reason. `options` must live as long as the command.
void add_change_options(CLI::App* command, ChangeOptions& options);

// Interfaces of this machine without the floating IPs that heartbeatd has put there; nothing if they cannot be read.
std::optional<config::Facts> machine_facts(const Context& context);

// False after fail() with exit code 5 if the peer is the active node, or nobody may ask.
bool may_change(Context& context);

// The user's name (that of sudo's caller), for the revision.
std::string author();

Json problems_json(const config::Problems& problems);
// Problems to stderr (or in the JSON error), exit code 3; other errors with theirs.
void report_refusal(Context& context, const config::Refusal& refusal);
// What is said of files in force that are not valid.
Error invalid_error(const Context& context);
// The same for files that are not valid or cannot be read.
void report_invalid(Context& context, const config::LoadResult& loaded);
// The configuration in force, for verbs that only look at it; nothing after fail().
std::optional<config::LoadResult> load_to_show(Context& context);

// The configuration in force, to be changed by a verb; nothing after a refusal.
std::optional<config::LoadResult> load_for_change(Context& context);

// Renders `cluster` anew, puts it in force as a revision and reports. Says where comments that were dropped still
// stand. `what`: the reason of the revision, unless the user gave one.
void commit(Context& context, const config::LoadResult& loaded, const config::ClusterConfig& cluster,
            const ChangeOptions& options, const std::string& what, std::vector<std::string> notes = {},
            Json extra = Json::object());

// Waits for the daemons, prints what was done. `notes` are further lines for people, `extra` further keys for scripts.
void report_applied(Context& context, const config::Applied& applied, const ChangeOptions& options,
                    const std::vector<std::string>& notes = {}, const Json& extra = Json::object());

}  // namespace lbcluster::cli
