// lbcluster key generate: makes the pair's secret, STATE_DIR/keys/heartbeat.key. It is copied to the peer by hand; the
// secret itself is never printed. Needs no daemon; a heartbeatd that runs takes the new key when it reads the file.
#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cerrno>
#include <memory>
#include <string>

#include "commands.hpp"
#include "context.hpp"
#include "lbcluster/keys/key_ring.hpp"

namespace lbcluster::cli {
namespace {

// 'text' for a shell: paths may hold anything.
std::string quoted(const std::string& text) {
    std::string result = "'";
    for (const char c : text) {
        if (c == '\'') {
            result += "'\\''";
        } else {
            result += c;
        }
    }
    return result + "'";
}

void generate(Context& context, bool force) {
    const std::string path = heartbeat_key_path(context.paths.state_dir);
    const auto ring = KeyRing::generate();
    if (!ring) {
        fail(context, exit_failed, ring.error());
        return;
    }
    if (const auto written = ring->write(path, force); !written) {
        Error error = written.error();
        if (error.code == EEXIST) {
            error.hint = "the pair uses it; --force replaces it, and then the peer needs the new one at once";
        }
        const bool refused = error.code == EEXIST || error.code == EPERM || error.code == EACCES;
        fail(context, refused ? exit_refused : exit_failed, error);
        return;
    }
    if (context.json) {
        print_json(Json{{"path", path}, {"cluster_id", ring->cluster_id_hex()}, {"fingerprint", ring->fingerprint()}});
        return;
    }
    const std::string copy =
        "install -d -m 700 " + quoted(context.paths.keys_dir()) + " && install -m 600 /dev/stdin " + quoted(path);
    print(
        "New heartbeat key: " + harmless(path) + "\nFingerprint:       " + ring->fingerprint() +
        "\n\nThe peer needs the same file, readable by root only. As root, with PEER replaced:\n\n    ssh root@PEER " +
        harmless(quoted(copy)) + " < " + harmless(quoted(path)) +
        "\n\nWhoever has this file can speak for either node: send it over nothing less than SSH.\n");
}

void fingerprint(Context& context) {
    const std::string path = heartbeat_key_path(context.paths.state_dir);
    const auto ring = KeyRing::load(path);
    if (!ring) {
        fail(context, ring.error().code == EPERM || ring.error().code == EACCES ? exit_refused : exit_failed,
             ring.error());
        return;
    }
    if (context.json) {
        print_json(Json{{"path", path},
                        {"cluster_id", ring->cluster_id_hex()},
                        {"keys", ring->size()},
                        {"fingerprint", ring->fingerprint()}});
        return;
    }
    print(ring->fingerprint() + "\n");
}

}  // namespace

void register_key(CLI::App& app, Context& context) {
    CLI::App* key = app.add_subcommand("key", "The secret that the two nodes share");
    key->require_subcommand(1);
    CLI::App* make = key->add_subcommand("generate", "Make a new key and say how to copy it to the peer");
    auto force = std::make_shared<bool>(false);
    make->add_flag("--force", *force, "Replace the key that is there");
    make->callback([&context, force] { generate(context, *force); });
    CLI::App* show = key->add_subcommand("fingerprint", "Check the key; equal fingerprints mean equal keys");
    show->callback([&context] { fingerprint(context); });
    register_key_rotate(*key, context);
}

}  // namespace lbcluster::cli
