#include "replicator/pairing/local.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <system_error>
#include <vector>

#include "lbcluster/base/time.hpp"
#include "lbcluster/bus/request.hpp"
#include "lbcluster/config/load.hpp"
#include "lbcluster/config/schema.hpp"
#include "lbcluster/config/services.hpp"
#include "lbcluster/machine/facts.hpp"
#include "replicator/pairing/node_text.hpp"

namespace lbcluster::replicator {

namespace {

std::string pending_key_path(const config::Paths& paths) { return heartbeat_key_path(paths.state_dir) + ".pairing"; }

Error errno_error(const std::string& what, int code) {
    return {what + ": " + std::system_category().message(code),
            code == ENOSPC ? "the disk is full: free some space" : (code == EACCES ? "run it as root" : ""), code};
}

Error invalid(const std::string& what, const config::Problems& problems) {
    std::string list;
    for (const config::Problem& problem : problems) {
        if (!problem.warning) list += (list.empty() ? "" : "; ") + config::format(problem);
    }
    return {what + ": " + list, "put that right, and try again", EINVAL};
}

Error refusal(const std::string& what, const config::Refusal& refused) {
    if (!refused.problems.empty()) return invalid(what, refused.problems);
    return {what + ": " + refused.error.message, refused.error.hint, refused.error.code};
}

// Addresses that heartbeatd may have put on this machine.
std::set<IpPrefix> floating_of(const config::ClusterConfig& cluster) {
    std::set<IpPrefix> all;
    for (const auto& one : config::all_floating_ips(cluster)) {
        if (const auto prefix = IpPrefix::parse(one.address())) all.insert(*prefix);
    }
    return all;
}

Result<void> make_folder(const std::string& path, unsigned mode) {
    if (::mkdir(path.c_str(), mode) == 0 || errno == EEXIST) return {};
    return errno_error("cannot make " + path, errno);
}

// Steps that can be taken back, the newest first.
class Undo {
  public:
    ~Undo() {
        for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) (*step)();
    }
    void add(std::function<void()> step) { steps_.push_back(std::move(step)); }
    void keep() { steps_.clear(); }

  private:
    std::vector<std::function<void()>> steps_;
};

Result<void> replace(const std::string& path, const std::string& text, unsigned mode, Undo& undo) {
    const auto old = config::read_text(path);
    if (old && *old == text) return {};
    if (!old && old.error().code != ENOENT) return old.error();
    undo.add([path, mode, text = old ? std::optional(*old) : std::nullopt] {
        if (text) (void)config::write_atomically(path, *text, mode);
        else ::unlink(path.c_str());
    });
    return config::write_atomically(path, text, mode);
}

Result<void> replace_keys(const std::string& path, const KeyRing& keys, Undo& undo) {
    auto old = KeyRing::load(path);
    if (!old && old.error().code != ENOENT) return old.error();
    if (old && old->fingerprint() == keys.fingerprint()) return {};
    undo.add([path, ring = old ? std::optional(*old) : std::nullopt] {
        if (ring) (void)ring->write(path, true);
        else ::unlink(path.c_str());
    });
    return keys.write(path, true);
}

Result<void> take_content(const config::Paths& paths, const config::Received& received, Undo& undo) {
    const auto before = config::read_content(paths.config_dir);
    if (before && config::digest_of(*before) == received.revision.digest()) return {};
    const auto facts = machine_facts(floating_of(config::load(paths, std::nullopt).cluster.config));
    config::Change change;
    change.author = received.revision.author();
    change.reason = "pairing failed: back to what was in force";
    if (before) {
        undo.add(
            [paths, digest = config::digest_of(*before), change] { (void)config::put_back(paths, digest, change); });
    }
    const auto taken = config::take_over(paths, {received}, facts, change);
    if (!taken) return refusal("the configuration cannot be taken over", taken.error());
    return {};
}

}  // namespace

Result<std::optional<config::PeerRecord>> read_peer_record(const config::Paths& paths) {
    const auto text = config::read_text(paths.peer_file());
    if (!text && text.error().code == ENOENT) return std::optional<config::PeerRecord>();
    if (!text) return text.error();
    config::PeerRecord record;
    config::Positions positions;
    config::Problems problems;
    if (!config::parse_yaml(*text, paths.peer_file(), record, positions, problems)) {
        return invalid(paths.peer_file() + " is not valid", problems);
    }
    config::with_defaults(record);
    return std::optional(record);
}

Result<LocalNode> look_at_node(const config::Paths& paths) {
    config::LoadResult loaded = config::load(paths, std::nullopt);
    if (loaded.denied) return *loaded.denied;
    if (!loaded.ok()) return invalid("the configuration in " + paths.config_dir + " is not valid", loaded.problems);
    LocalNode node;
    node.name = loaded.effective_node.node();
    node.node_text = loaded.node_text;
    auto content = config::read_content(paths.config_dir);
    if (!content) return content.error();
    node.content = std::move(*content);
    node.digest = loaded.digest;
    node.revision = loaded.revision;
    node.services = static_cast<unsigned>(loaded.cluster.config.virtual_services_size() +
                                          loaded.cluster.config.floating_ips_size());
    node.heartbeat_port = static_cast<std::uint16_t>(loaded.effective_cluster.heartbeat().port());
    const auto peers_port = static_cast<std::uint16_t>(loaded.effective_cluster.layer7().peers_port());
    if (peers_port != 0) node.peers_port = peers_port;
    const auto keys = KeyRing::load(heartbeat_key_path(paths.state_dir));
    if (!keys && keys.error().code != ENOENT) return keys.error();
    if (keys) node.cluster_id = keys->cluster_id_hex();
    auto record = read_peer_record(paths);
    if (!record) return record.error();
    node.record = std::move(*record);
    if (node.record) node.paired_with = node.record->node();
    for (const config::Link& link : loaded.node.config.links()) {
        if (node.paired_with.empty()) node.paired_with = link.has_peer() ? link.peer() : "the peer at " + link.serial();
    }
    return node;
}

Result<void> check_plan(const config::Paths& paths, const NodePlan& plan) {
    const auto now = config::load(paths, std::nullopt);
    const std::string& cluster_text = plan.content ? plan.content->content.cluster_yaml : now.cluster_text;
    const auto facts = machine_facts(floating_of(now.cluster.config));
    const auto checked = config::load_texts(plan.node_text, cluster_text, "cluster.yaml", facts);
    if (!checked.ok()) {
        const std::string name = now.effective_node.node();
        return invalid("the configuration is not valid on " + (name.empty() ? "this node" : name), checked.problems);
    }
    return {};
}

Result<void> put_in_force(const config::Paths& paths, const NodePlan& plan) {
    Undo undo;
    auto done = make_folder(paths.peer_home(), 0755);
    if (done) done = make_folder(paths.peer_home() + "/.ssh", 0755);
    // The configuration first: it is the largest, and its revision is what the disk may have no space for.
    if (done && plan.content) done = take_content(paths, *plan.content, undo);
    if (done) done = replace_keys(heartbeat_key_path(paths.state_dir), plan.keys, undo);
    const std::string authorized = authorized_keys_text(plan.authorized_key, plan.record.address());
    if (done) done = replace(paths.peer_home() + "/.ssh/authorized_keys", authorized, 0644, undo);
    if (done) done = replace(paths.peer_file(), config::to_yaml(plan.record), 0644, undo);
    // Last: with links heartbeatd wants the key.
    if (done) done = replace(paths.node_file(), plan.node_text, 0644, undo);
    if (!done) return done;
    undo.keep();
    ::unlink(pending_key_path(paths).c_str());
    return {};
}

Result<void> end_pair(const config::Paths& paths, bool clear, const std::string& author) {
    const auto text = config::read_text(paths.node_file());
    if (!text) return text.error();
    const auto single = without_peer(*text);
    if (!single) return single.error();
    // First what says that there is a peer, so that clearing is never taken for a change that is to be replicated; the
    // links last, so that this is done again after a stop.
    for (const std::string& path : {paths.peer_file(), paths.peer_home() + "/.ssh/authorized_keys"}) {
        if (::unlink(path.c_str()) != 0 && errno != ENOENT) return errno_error("cannot remove " + path, errno);
    }
    if (clear) {
        config::Change change;
        change.author = author;
        change.reason = "the pair was ended; the floating IPs stay on the other node";
        const auto cleared = config::reset(paths, change);
        if (!cleared) return refusal("the configuration cannot be cleared", cleared.error());
    }
    const auto written = config::write_atomically(paths.node_file(), single->text, 0644);
    // The next pair has a secret that this peer does not know.
    if (written) ::unlink(heartbeat_key_path(paths.state_dir).c_str());
    return written;
}

Result<KeyRing> key_for_pair(const config::Paths& paths) {
    auto own = KeyRing::load(heartbeat_key_path(paths.state_dir));
    if (own || own.error().code != ENOENT) return own;
    const std::string pending = pending_key_path(paths);
    auto kept = KeyRing::load(pending);
    if (kept || kept.error().code != ENOENT) return kept;
    auto made = KeyRing::generate();
    if (!made) return made;
    if (const auto written = made->write(pending, false); !written) return written.error();
    return made;
}

Result<void> use_keys(const config::Paths& paths, const KeyRing& keys) {
    if (const auto written = keys.write(heartbeat_key_path(paths.state_dir), true); !written) return written;
    bus::Call reload;
    reload.mutable_reload();
    const auto reply = bus::call(paths.socket_of("heartbeatd"), reload, 10s);
    // Nobody there: the next one reads the file.
    if (!reply && (reply.error().code == ENOENT || reply.error().code == ECONNREFUSED)) return {};
    if (!reply) return reply.error();
    if (reply->exit_code() != 0) return Error{"heartbeatd: " + reply->message(), reply->hint(), EIO};
    return {};
}

Result<std::string> take_incoming(const config::Paths& paths) {
    const std::string path = paths.peer_home() + "/incoming/" + incoming_name;
    const int file = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0) return errno_error("what SCP should have brought is not there (" + path + ")", errno);
    struct stat info{};
    std::string bytes;
    Result<void> done;
    if (::fstat(file, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size > static_cast<off_t>(incoming_bytes_max)) {
        done = Error{path + " is no file of at most " + std::to_string(incoming_bytes_max) + " bytes", "", EMSGSIZE};
    }
    if (done) bytes.resize(static_cast<std::size_t>(info.st_size));
    for (std::size_t at = 0; done && at < bytes.size();) {
        const ssize_t got = ::read(file, bytes.data() + at, bytes.size() - at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) done = errno_error("cannot read " + path, got < 0 ? errno : EIO);
        else at += static_cast<std::size_t>(got);
    }
    ::close(file);
    ::unlink(path.c_str());
    if (!done) return done.error();
    return bytes;
}

std::string authorized_keys_text(const std::string& key, const std::string& from) {
    return "# Written by lbcluster when the nodes were paired; anything else in here is lost with the next pairing.\n"
           "restrict,command=\"lbcluster replica\",from=\"" +
           from + "\" " + key + " lbcluster-peer\n";
}

}  // namespace lbcluster::replicator
