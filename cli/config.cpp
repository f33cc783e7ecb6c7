// lbcluster config ...: check, show and change the configuration, and its revisions (RE-5, OP-1). Works on the files;
// needs no daemon.
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Validators.hpp>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string>

#include "change.hpp"
#include "commands.hpp"
#include "context.hpp"
#include "lbcluster/base/clock.hpp"
#include "lbcluster/base/time.hpp"
#include "lbcluster/bus/request.hpp"
#include "lbcluster/config/backup.hpp"
#include "lbcluster/config/load.hpp"
#include "lbcluster/config/schema.hpp"
#include "lbcluster/config/store.hpp"
#include "lbcluster/replica.pb.h"
#include "replication.hpp"

namespace lbcluster::cli {
namespace {

struct ConfigOptions : ChangeOptions {
    std::optional<std::string> file;
    std::string revision;  // a number, 1 and up
    bool peer = false;
    std::string whose;    // mine | peer
    std::string confirm;  // a duration
    bool secrets = false;
    bool node = false;
    [[nodiscard]] std::uint64_t number() const { return revision.empty() ? 0 : std::stoull(revision); }
};

std::string complaint_about_revision(const std::string& text) {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const bool good = error == std::errc{} && end == text.data() + text.size() && number > 0;
    return good ? "" : "'" + text + "' is not the number of a revision; 'lbcluster config history' lists them";
}

std::string complaint_about_patience(const std::string& text) {
    const auto patience = parse_duration(text);
    if (patience && *patience >= std::chrono::seconds(1) && *patience <= std::chrono::hours(24)) return "";
    return "'" + text + "' is no time from 1s to 24h";
}

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// FILE as it would be in force here: as node.yaml if it is called so, else as cluster.yaml.
Result<config::LoadResult> load_file(const Context& context, const std::string& file) {
    const auto facts = machine_facts(context);
    const auto text = config::read_text(file);
    if (!text) return text.error();
    if (base_name(file) == "node.yaml") {
        const auto cluster = config::read_text(context.paths.cluster_file());
        return config::load_texts(*text, cluster ? *cluster : "{}", "cluster.yaml", facts);
    }
    const auto node = config::read_text(context.paths.node_file());
    auto loaded = config::load_texts(node ? std::optional<std::string>(*node) : std::nullopt, *text, file, facts);
    // It would come into force with the files that are there.
    auto files = config::read_files(context.paths.config_dir);
    if (!files) return files.error();
    config::take_files(loaded, std::move(*files));
    return loaded;
}

void check(Context& context, const std::optional<std::string>& file) {
    auto loaded = file ? load_file(context, *file)
                       : Result<config::LoadResult>(config::load(context.paths, machine_facts(context)));
    if (!loaded) return report_refusal(context, {loaded.error(), {}});
    if (loaded->denied) return report_refusal(context, {*loaded->denied, {}});
    const config::Problems& problems = loaded->problems;
    if (config::has_errors(problems)) context.exit_code = exit_invalid;
    if (context.json) return print_json({{"problems", problems_json(problems)}});
    for (const config::Problem& problem : problems) print(harmless(config::format(problem)) + "\n");
    if (problems.empty()) print((file ? harmless(*file) : "The configuration") + " is right.\n");
}

void show(Context& context) {
    const auto loaded = load_to_show(context);
    if (!loaded) return;
    if (context.json) {
        return print_json({{"revision", loaded->history_denied ? Json() : Json(loaded->revision)},
                           {"digest", loaded->digest},
                           {"node", Json::parse(config::to_json(loaded->effective_node))},
                           {"cluster", Json::parse(config::to_json(loaded->effective_cluster))}});
    }
    const std::string revision = loaded->history_denied  ? "which revision cannot be read"
                                 : loaded->revision == 0 ? "changed by hand, not a revision yet"
                                                         : "revision " + std::to_string(loaded->revision);
    print("# node.yaml, with defaults\n" + config::to_yaml(loaded->effective_node, config::Secrets::masked) +
          "\n# cluster.yaml, with defaults: " + revision + ", digest " + loaded->digest.substr(0, 16) + "\n" +
          config::to_yaml(loaded->effective_cluster, config::Secrets::masked));
}

// From `revision`, or (0) from the newest one that differs from what is in force, to what is in force.
void diff(Context& context, std::uint64_t revision) {
    const auto current = config::read_content(context.paths.config_dir);
    if (!current) return report_refusal(context, {current.error(), {}});
    if (revision == 0) {
        const std::string digest = config::digest_of(*current);
        std::optional<Error> denied;
        const auto revisions = config::history(context.paths, &denied);
        if (denied) return report_refusal(context, {*denied, {}});
        for (const auto& old : revisions) {
            if (old.digest() == digest) continue;
            revision = old.number();
            break;
        }
    }
    if (revision == 0) {
        if (context.json) return print_json({{"from", nullptr}, {"diff", ""}});
        return print("There is no other revision to compare with.\n");
    }
    const auto old = config::read_revision(context.paths, revision);
    if (!old) return report_refusal(context, {old.error(), {}});
    const std::string text = config::unified_diff(*old, *current, "revision " + std::to_string(revision), "in force");
    if (context.json) return print_json({{"from", revision}, {"diff", text}});
    // Line by line: a diff keeps its lines, but nothing in them may steer the terminal.
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = text.find('\n', at);
        print(harmless(std::string_view(text).substr(at, end - at)) + "\n");
        at = end + 1;
    }
}

void history(Context& context) {
    const auto loaded = config::load(context.paths, std::nullopt);
    std::optional<Error> denied;
    const auto revisions = config::history(context.paths, &denied);
    if (denied) return report_refusal(context, {*denied, {}});
    if (context.json) {
        Json list = Json::array();
        for (const auto& one : revisions) {
            Json entry = Json::parse(config::to_json(one));
            entry["in_force"] = one.number() == loaded.revision;
            list.push_back(entry);
        }
        return print_json({{"revisions", list}});
    }
    if (loaded.revision == 0 && !loaded.digest.empty()) {
        print("*    -  changed by hand, becomes a revision with the next change\n");
    }
    for (const auto& one : revisions) {
        std::array<char, 32> number{};
        std::snprintf(number.data(), number.size(), "%c %4llu  ", one.number() == loaded.revision ? '*' : ' ',
                      static_cast<unsigned long long>(one.number()));
        print(number.data() + harmless(one.time()) + "  " + one.digest().substr(0, 12) + "  " + harmless(one.author()) +
              ": " + harmless(one.reason()) + "\n");
    }
    if (revisions.empty()) print("No revision has been made yet.\n");
}

void finish(Context& context, const Result<config::Applied, config::Refusal>& applied, const ChangeOptions& options) {
    if (!applied) return report_refusal(context, applied.error());
    report_applied(context, *applied, options);
}

config::Change change_of(const ConfigOptions& options, const std::string& what) {
    config::Change change;
    change.author = author();
    change.reason = options.reason.empty() ? what : options.reason;
    return change;
}

// replicatord takes the configuration back, so it must be there. What is written here counts as soon as the new one is
// in force. The time; nothing after fail().
std::optional<std::string> promise_to_take_back(Context& context, const ConfigOptions& options,
                                                const std::string& text) {
    if (!bus::listens(context.paths.socket_of("replicatord"))) {
        fail(context, exit_unreachable,
             {"nobody would take the configuration back: replicatord does not run",
              "start it ('systemctl start replicatord'), or apply without --confirm", 0});
        return std::nullopt;
    }
    const auto current = config::read_content(context.paths.config_dir);
    if (!current) {
        report_refusal(context, {current.error(), {}});
        return std::nullopt;
    }
    // By its digest alone it can be found again.
    if (const auto settled = config::settle(context.paths, std::chrono::seconds(5)); !settled) {
        report_refusal(context, settled.error());
        return std::nullopt;
    }
    const auto patience = parse_duration(options.confirm);
    const auto until = realtime_ms_now() + static_cast<std::uint64_t>(*patience / std::chrono::milliseconds(1));
    replica::Unconfirmed promise;
    promise.set_digest(config::digest_of({text, current->files}));
    promise.set_before(config::digest_of(*current));
    promise.set_until(format_rfc3339(until));
    if (promise.digest() == promise.before()) {
        fail(context, exit_refused, {"this configuration is in force already", "there is nothing to confirm", 0});
        return std::nullopt;
    }
    const auto written = config::write_atomically(context.paths.unconfirmed_file(), config::to_yaml(promise), 0600);
    if (written) return promise.until();
    report_refusal(context, {written.error(), {}});
    return std::nullopt;
}

void apply(Context& context, const ConfigOptions& options) {
    if (!may_change(context)) return;
    const auto text = config::read_text(*options.file);
    if (!text) return report_refusal(context, {text.error(), {}});
    std::optional<std::string> until;
    if (!options.confirm.empty()) {
        until = promise_to_take_back(context, options, *text);
        if (!until) return;
    }
    const auto applied = config::apply(context.paths, *text, *options.file, machine_facts(context),
                                       change_of(options, "apply " + base_name(*options.file)));
    if (!until) return finish(context, applied, options);
    if (!applied) {
        ::unlink(context.paths.unconfirmed_file().c_str());
        return report_refusal(context, applied.error());
    }
    report_applied(context, *applied, options,
                   {"It is taken back at " + *until + ", on both nodes, unless you run 'lbcluster config confirm'."},
                   {{"confirm_until", *until}});
}

void confirm(Context& context) {
    if (!may_change(context)) return;
    const std::string file = context.paths.unconfirmed_file();
    if (::unlink(file.c_str()) != 0) {
        const int code = errno;
        if (code == ENOENT) fail(context, exit_refused, {"nothing waits to be confirmed", "", 0});
        else fail(context, exit_failed, {"cannot remove " + file + ": " + std::strerror(code), "are you root?", code});
        return;
    }
    // It tells the peer.
    bus::Call look;
    look.mutable_reload();
    static_cast<void>(bus::call(context.paths.socket_of("replicatord"), look, std::chrono::seconds(5)));
    if (context.json) return print_json({{"result", "confirmed"}});
    print("The configuration stays.\n");
}

void rollback(Context& context, const ConfigOptions& options) {
    if (!may_change(context)) return;
    finish(context,
           config::rollback(context.paths, options.number(), machine_facts(context),
                            change_of(options, "back to revision " + std::to_string(options.number()))),
           options);
}

void reset(Context& context, const ConfigOptions& options) {
    if (!may_change(context)) return;
    finish(context, config::reset(context.paths, change_of(options, "factory settings")), options);
}

// Never over another one.
void backup(Context& context, const ConfigOptions& options) {
    const std::string& file = *options.file;
    const auto made = config::make_backup(context.paths, options.secrets, LBCLUSTER_VERSION);
    if (!made) return report_refusal(context, {made.error(), {}});
    struct stat info{};
    if (::lstat(file.c_str(), &info) == 0) {
        fail(context, exit_refused, {file + " is there already", "choose another name, or remove it", 0});
        return;
    }
    const auto written = config::write_atomically(file, config::backup_file(*made), 0600);
    if (!written) return report_refusal(context, {written.error(), {}});
    if (context.json) {
        return print_json({{"file", file},
                           {"node", made->node()},
                           {"revision", made->revision()},
                           {"digest", made->digest()},
                           {"secrets", options.secrets}});
    }
    print(harmless(file) + ": the configuration of " + harmless(made->node()) + ", digest " +
          made->digest().substr(0, 16) + (options.secrets ? ", with the secrets of this node" : ", without keys") +
          "\n");
}

void restore(Context& context, const ConfigOptions& options) {
    if (!may_change(context)) return;
    constexpr std::size_t backup_bytes_max = 4 * config::files_bytes_max;
    const auto bytes = config::read_bytes(*options.file, backup_bytes_max);
    if (!bytes) return report_refusal(context, {bytes.error(), {}});
    const auto backup = config::read_backup(*bytes);
    if (!backup) {
        fail(context, exit_invalid, backup.error());
        return;
    }
    const config::Change change =
        change_of(options, "restore the backup of " + backup->node() + " of " + backup->time());
    const auto facts = machine_facts(context);
    finish(context,
           options.node ? config::restore_node(context.paths, *backup, facts, change)
                        : config::restore(context.paths, *backup, facts, change),
           options);
}

}  // namespace

void add_change_options(CLI::App* command, ChangeOptions& options) {
    add_wait_options(command, options, "the daemons have applied it");
    command->add_option("--reason", options.reason, "Why, for the history");
}

void register_config(CLI::App& app, Context& context) {
    auto options = std::make_shared<ConfigOptions>();
    auto* config = app.add_subcommand("config", "The configuration and its revisions");
    config->require_subcommand(1);

    auto* check_verb = config->add_subcommand("check", "Say everything that is wrong with the configuration, or FILE");
    check_verb->add_option("FILE", options->file, "A cluster.yaml (or node.yaml) instead of the one in force");
    check_verb->callback([&context, options] { check(context, options->file); });

    auto* show_verb = config->add_subcommand("show", "What is in force, defaults included");
    show_verb->callback([&context] { show(context); });

    auto* diff_verb = config->add_subcommand("diff", "What changed since revision REV, or with the last change");
    diff_verb->add_option("REV", options->revision, "Number of a revision")->check(complaint_about_revision);
    diff_verb->add_flag("--peer", options->peer, "What differs from the peer's, and what is meant to")->excludes("REV");
    diff_verb->callback([&context, options] { options->peer ? diff_peer(context) : diff(context, options->number()); });

    auto* apply_verb = config->add_subcommand("apply", "Check FILE, then put it in force as cluster.yaml");
    apply_verb->add_option("FILE", options->file, "The new cluster.yaml")->required();
    apply_verb->add_option("--confirm", options->confirm, "Take it back after this time unless it is confirmed: 60s")
        ->check(complaint_about_patience);
    add_change_options(apply_verb, *options);
    apply_verb->callback([&context, options] { apply(context, *options); });

    auto* confirm_verb = config->add_subcommand("confirm", "Keep what was applied with --confirm");
    confirm_verb->callback([&context] { confirm(context); });

    auto* history_verb = config->add_subcommand("history", "The revisions, newest first; * is in force");
    history_verb->callback([&context] { history(context); });

    auto* backup_verb = config->add_subcommand("backup", "Write the configuration of this node to FILE");
    backup_verb->add_option("FILE", options->file, "A new file; only its owner may read it")->required();
    backup_verb->add_flag("--secrets", options->secrets, "With the keys and the peer of this node");
    backup_verb->callback([&context, options] { backup(context, *options); });

    auto* restore_verb = config->add_subcommand("restore", "Put a backup in force, as a new revision");
    restore_verb->add_option("FILE", options->file, "Made by 'lbcluster config backup'")->required();
    restore_verb->add_flag("--node", options->node,
                           "Also what is this node's alone: node.yaml, and keys if it has them");
    add_change_options(restore_verb, *options);
    restore_verb->callback([&context, options] { restore(context, *options); });

    auto* rollback_verb = config->add_subcommand("rollback", "Put revision REV in force again, as a new revision");
    rollback_verb->add_option("REV", options->revision, "Number of a revision")
        ->required()
        ->check(complaint_about_revision);
    add_change_options(rollback_verb, *options);
    rollback_verb->callback([&context, options] { rollback(context, *options); });

    auto* resolve_verb =
        config->add_subcommand("resolve", "Both nodes were changed: this node's configuration counts, or the peer's");
    resolve_verb->add_option("WHOSE", options->whose, "mine or peer")
        ->required()
        ->check(CLI::IsMember({"mine", "peer"}));
    add_wait_time(resolve_verb, *options, "both nodes have the same");
    resolve_verb->callback([&context, options] { resolve(context, options->whose == "mine", *options); });

    auto* reset_verb = config->add_subcommand("reset", "Back to factory settings, as a new revision");
    add_change_options(reset_verb, *options);
    reset_verb->callback([&context, options] { reset(context, *options); });
}

}  // namespace lbcluster::cli
