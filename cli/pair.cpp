// lbcluster pair, lbcluster unpair. Both run here, as root, and need no daemon on this node: the answer comes from the
// peer's replicatord, and this node's daemons notice the files. So the password never leaves this process.
#include <lbcluster/state.pb.h>
#include <openssl/crypto.h>
#include <poll.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <cerrno>
#include <iostream>
#include <memory>
#include <optional>

#include "change.hpp"
#include "commands.hpp"
#include "context.hpp"
#include "lbcluster/base/address.hpp"
#include "lbcluster/bus/request.hpp"
#include "replicator/pairing/initiator.hpp"
#include "replicator/pairing/local.hpp"
#include "replicator/pairing/ssh_dialer.hpp"
#include "terminal.hpp"

namespace lbcluster::cli {
namespace {

namespace ssh = replicator::ssh;
using replicator::PairFailure;
using replicator::PairOutcome;

constexpr std::size_t password_bytes_max = 1024;
constexpr auto link_patience = 20s;

struct UnpairOptions {
    bool keep = false;
    bool clear = false;
};

struct PairOptions {
    replicator::PairRequest request;
    bool password_stdin = false;
    std::string password_file;
    std::string fingerprint;
};

// Runs a coroutine to its end.
template <class T, class E>
Result<T, E> run_to_end(boost::asio::awaitable<Result<T, E>> task) {
    std::optional<Result<T, E>> result;
    boost::asio::io_context io{1};
    const auto keep = [](boost::asio::awaitable<Result<T, E>> inner,
                         std::optional<Result<T, E>>& kept) -> boost::asio::awaitable<void> {
        kept.emplace(co_await std::move(inner));
    };
    boost::asio::co_spawn(io, keep(std::move(task), result), [](const std::exception_ptr& error) {
        if (error) std::rethrow_exception(error);
    });
    while (!result && io.run_one() > 0) {
    }
    LBC_ASSERT(result.has_value());
    return std::move(*result);
}

Result<std::string> first_line(std::istream& in, const std::string& where) {
    std::string line;
    std::getline(in, line);
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty() || line.size() > password_bytes_max) {
        return Error{"no password in the first line of " + where, "", EINVAL};
    }
    return line;
}

Result<std::string> password_of(const PairOptions& options) {
    if (options.password_stdin) return first_line(std::cin, "the standard input");
    if (!options.password_file.empty()) {
        auto text = config::read_text(options.password_file);
        if (!text) return text.error();
        std::istringstream lines(*text);
        auto line = first_line(lines, options.password_file);
        OPENSSL_cleanse(text->data(), text->size());
        return line;
    }
    const auto& request = options.request;
    auto typed = ask_secret("Password of " + request.user + " on " + request.peer + ": ");
    if (!typed) {
        return Error{"there is no terminal to ask for the password at", "--password-stdin or --password-file gives it",
                     EACCES};
    }
    return *typed;
}

// Given, known from before, or confirmed by the person at the terminal.
Result<void> check_host_key(const PairOptions& options, const std::optional<config::PeerRecord>& known,
                            const ssh::HostKey& seen) {
    const std::string& peer = options.request.peer;
    if (!options.fingerprint.empty()) {
        if (seen.fingerprint == options.fingerprint) return {};
        return Error{
            "the host key of " + peer + " is " + seen.fingerprint + " (" + seen.type + "), not " + options.fingerprint,
            "compare with what the peer says: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub; if it is "
            "another one, somebody is in between",
            EKEYREJECTED};
    }
    if (known && known->address() == peer && known->host_key() == seen.base64) return {};
    const auto answer =
        ask("The SSH server at " + peer + " has the host key\n    " + seen.fingerprint + " (" + seen.type +
            ")\nOn the peer this shows it: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub\n"
            "Is it the same? (yes/no) ");
    if (!answer) {
        return Error{"the host key of " + peer + " is " + seen.fingerprint + " (" + seen.type +
                         "), and there is no terminal to ask whether that is right",
                     "if the peer says the same (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), give it: "
                     "--fingerprint " +
                         seen.fingerprint,
                     EKEYREJECTED};
    }
    if (*answer == "yes") return {};
    return Error{"the host key of " + peer + " was not confirmed", "nothing was changed", EKEYREJECTED};
}

std::optional<bus::NodeStatus> node_status(const Context& context) {
    const auto items = bus::fetch(context.paths.socket_of("heartbeatd"), "node", 1s);
    if (!items) return std::nullopt;
    for (const bus::Item& item : *items) {
        if (item.has_node()) return item.node();
    }
    return std::nullopt;
}

// "up", or what it was last; empty: no heartbeatd here.
std::string wait_for_link(const Context& context) {
    const auto until = std::chrono::steady_clock::now() + link_patience;
    std::string link;
    do {
        const auto status = node_status(context);
        if (!status && link.empty() && !bus::listens(context.paths.socket_of("heartbeatd"))) {
            // It starts anew when it gets links.
            if (std::chrono::steady_clock::now() > until - link_patience + 3s) return "";
        }
        if (status) link = status->link();
        if (status && link == "up" && status->peer().state() == "alive") return link;
        ::poll(nullptr, 0, 100);
    } while (std::chrono::steady_clock::now() < until);
    return link == "up" ? "down" : link;
}

// Daemons that run look at the files at once.
void reload_daemons(const Context& context) {
    for (const char* daemon : {"heartbeatd", "replicatord"}) {
        bus::Call reload;
        reload.mutable_reload();
        (void)bus::call(context.paths.socket_of(daemon), reload, 2s);
    }
}

bool right_addresses(Context& context, const replicator::PairRequest& request) {
    const auto local = IpAddress::parse(request.local);
    const auto peer = IpAddress::parse(request.peer);
    Error error;
    if (!local) error = {"--local: '" + request.local + "' is no IP address", "an address of this node", 0};
    else if (!peer) error = {"--peer: '" + request.peer + "' is no IP address", "an address of the peer", 0};
    else if (local->is_v4() != peer->is_v4()) error = {"--local and --peer must be of one family", "", 0};
    else if (*local == *peer) error = {"--local and --peer are the same address", "", 0};
    if (error.message.empty()) return true;
    fail(context, exit_usage, error);
    return false;
}

void report_paired(Context& context, const PairOutcome& outcome) {
    const auto& record = outcome.record;
    const std::string link = wait_for_link(context);
    std::vector<std::string> notes;
    if (outcome.comments_dropped) notes.emplace_back("node.yaml was written anew: its comments are gone");
    if (link.empty()) notes.emplace_back("heartbeatd does not run on this node: start it");
    const Error silent{
        "the nodes are paired, but no heartbeats come from " + record.node(),
        "does heartbeatd run there, and does a firewall let the heartbeats' port (UDP 6694) through, both ways?",
        ETIMEDOUT};
    const bool heard = link.empty() || link == "up";
    if (!heard) context.exit_code = exit_timed_out;
    if (context.json) {
        Json result{{"result", "done"},
                    {"peer",
                     {{"node", record.node()},
                      {"address", record.address()},
                      {"port", record.port()},
                      {"user", record.user()},
                      {"host_key", record.host_key_type() + " " + record.host_key()}}},
                    {"cluster_id", record.cluster_id()},
                    {"digest", outcome.digest},
                    {"link", link.empty() ? Json() : Json(link)},
                    {"notes", notes}};
        if (!heard) {
            result.erase("result");
            result["error"] = {{"code", code_word(exit_timed_out)}, {"message", silent.message}, {"hint", silent.hint}};
        }
        return print_json(result);
    }
    print("done: paired with " + harmless(record.node()) + " at " + record.address() +
          "; this node is the primary, and the peer has the same configuration\n");
    for (const std::string& note : notes) print(harmless(note) + "\n");
    if (!heard) fail(context, exit_timed_out, silent);
}

void pair(Context& context, PairOptions& options) {
    auto& request = options.request;
    if (!right_addresses(context, request) || !may_change(context)) return;
    if (options.password_stdin && !options.password_file.empty()) {
        fail(context, exit_usage, {"--password-stdin and --password-file exclude each other", "", 0});
        return;
    }
    const auto known = replicator::read_peer_record(context.paths);
    if (!known) {
        fail(context, exit_failed, known.error());
        return;
    }
    request.author = author();
    const auto own = run_to_end(replicator::host_key_of(request.local, request.ssh_port));
    if (!own) {
        fail(context, replicator::exit_code_of_pairing(own.error()),
             {"this node's own SSH server: " + own.error().message,
              "the peer must be able to reach it, too: " + own.error().hint, own.error().code});
        return;
    }
    request.own_host_key = *own;
    const ssh::Target target{request.peer, request.ssh_port, request.user, request.local, ""};
    const auto check = [&options, &known](const ssh::HostKey& seen) { return check_host_key(options, *known, seen); };
    replicator::SshDialer dialer(target, check, [&options] { return password_of(options); });
    const auto progress = [&context](const std::string& step) {
        if (context.json) return;
        print(step + "\n");
        std::fflush(stdout);
    };
    const auto done = run_to_end(replicator::pair_nodes(context.paths, request, dialer, progress));
    if (!done) {
        fail(context, done.error().exit_code, done.error().error);
        return;
    }
    reload_daemons(context);
    report_paired(context, *done);
}

// Which node keeps floating IPs and services: who serves. Nothing if that is not known.
std::optional<bool> peer_keeps(const Context& context, const UnpairOptions& options) {
    if (options.keep || options.clear) return options.clear;
    const auto status = node_status(context);
    if (!status) return std::nullopt;
    if (status->activity() == "active") return false;
    if (status->peer().state() == "alive" && status->peer().activity() == "active") return true;
    return std::nullopt;
}

// The floating IPs stay where they are: the node that does not serve forgets them, and does so first.
void unpair(Context& context, const UnpairOptions& options) {
    const auto node = replicator::look_at_node(context.paths);
    if (!node) {
        fail(context, replicator::exit_code_of_pairing(node.error()), node.error());
        return;
    }
    if (node->paired_with.empty()) {
        fail(context, exit_refused, {node->name + " is a single node: there is no pair to end", "", 0});
        return;
    }
    const std::optional<bool> keeps = peer_keeps(context, options);
    if (!keeps) {
        fail(context, exit_refused,
             {"this node does not serve, and nobody here knows whether " + node->paired_with + " does",
              "say what becomes of floating IPs and services here: --clear if the peer has them, --keep if it has not",
              0});
        return;
    }
    const bool serves_there = *keeps;
    const auto check = [](const ssh::HostKey&) -> Result<void> { return {}; };
    replicator::SshDialer dialer({}, check, []() -> Result<std::string> { return Error{}; });
    Result<void> ended;
    if (serves_there) ended = replicator::end_pair(context.paths, true, author());
    Result<void, PairFailure> told;
    if (ended) told = run_to_end(replicator::tell_unpair(context.paths, *node, dialer, !serves_there));
    // It serves, whatever was believed here: ended on this side alone, both would hold the same addresses.
    if (!told && !serves_there && told.error().error.code == EBUSY) {
        fail(context, exit_refused, told.error().error);
        return;
    }
    if (ended && !serves_there) ended = replicator::end_pair(context.paths, false, author());
    if (!ended) {
        fail(context, replicator::exit_code_of_pairing(ended.error()), ended.error());
        return;
    }
    reload_daemons(context);
    const std::string trouble = told ? ""
                                     : "the peer does not know of it yet (" + told.error().error.message +
                                           "): before it serves again, run 'lbcluster unpair " +
                                           (serves_there ? "--keep" : "--clear") + "' there";
    if (context.json) {
        print_json({{"result", "done"},
                    {"peer_told", told.ok()},
                    {"cleared", serves_there ? "here" : "peer"},
                    {"notes", trouble.empty() ? Json::array() : Json::array({trouble})}});
        return;
    }
    print("The pair with " + harmless(node->paired_with) + " is ended.\n");
    if (serves_there) {
        print("Floating IPs and services stay there; here they are revision " + std::to_string(node->revision) +
              " of the history.\n");
    }
    if (!trouble.empty()) print(harmless(trouble) + "\n");
}

void rotate(Context& context) {
    const auto check = [](const ssh::HostKey&) -> Result<void> { return {}; };
    replicator::SshDialer dialer({}, check, []() -> Result<std::string> { return Error{}; });
    const auto done = run_to_end(replicator::rotate_keys(context.paths, dialer));
    if (!done) {
        fail(context, done.error().exit_code, done.error().error);
        return;
    }
    if (context.json) {
        print_json({{"result", "done"}, {"fingerprint", *done}});
        return;
    }
    print("Both nodes have a new heartbeat key, fingerprint " + *done + ".\n");
}

}  // namespace

void register_key_rotate(CLI::App& key, Context& context) {
    key.add_subcommand("rotate", "Change the key on both nodes, while the pair runs")->callback([&context] {
        rotate(context);
    });
}

void register_pair(CLI::App& app, Context& context) {
    auto options = std::make_shared<PairOptions>();
    auto& request = options->request;
    CLI::App* command = app.add_subcommand("pair", "Make a pair with another node; this one becomes the primary");
    command->add_option("--local", request.local, "Address of this node that the peer reaches")->required();
    command->add_option("--peer", request.peer, "Address of the peer")->required();
    command->add_option("--user", request.user, "The account on the peer")->capture_default_str();
    command->add_option("--port", request.ssh_port, "Port of both SSH servers")
        ->check(CLI::Range(1, 65535))
        ->capture_default_str();
    command->add_flag("--replace-peer", request.replace_peer, "Whatever is configured on the peer may go");
    command->add_flag("--password-stdin", options->password_stdin, "The password is the first line of stdin");
    command->add_option("--password-file", options->password_file, "The password is the first line of this file");
    command->add_option("--fingerprint", options->fingerprint, "The peer's host key, SHA256:...");
    command->callback([&context, options] { pair(context, *options); });
}

void register_unpair(CLI::App& app, Context& context) {
    CLI::App* command = app.add_subcommand("unpair", "End the pair; what is served stays on the node that serves it");
    auto options = std::make_shared<UnpairOptions>();
    CLI::Option* keep = command->add_flag("--keep", options->keep, "Floating IPs and services stay on this node");
    command->add_flag("--clear", options->clear, "They stay on the peer; this node has none any more")->excludes(keep);
    command->callback([&context, options] { unpair(context, *options); });
}

}  // namespace lbcluster::cli
