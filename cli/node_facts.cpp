#include "node_facts.hpp"

#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <utility>

#include "capture.hpp"
#include "diagnose_probes.hpp"
#include "lbcluster/bus/request.hpp"
#include "lbcluster/config/schema.hpp"
#include "own_ports.hpp"
#include "port_facts.hpp"

namespace lbcluster::cli {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

// The first certificate of a file is the one that clients see.
CertificateFacts certificate_of(const std::string& name, const std::string& bytes) {
    CertificateFacts out{name, "", std::nullopt};
    const std::unique_ptr<BIO, decltype(&BIO_free)> in(BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size())),
                                                       BIO_free);
    const std::unique_ptr<X509, decltype(&X509_free)> certificate(
        in ? PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr) : nullptr, X509_free);
    int days = 0;
    int seconds = 0;
    if (!certificate || ASN1_TIME_diff(&days, &seconds, nullptr, X509_get0_notAfter(certificate.get())) != 1) {
        out.error = "has no certificate in it that can be read";
    } else {
        out.seconds = std::int64_t{days} * 86'400 + seconds;
    }
    return out;
}

void take_node(const bus::NodeStatus& node, NodeFacts& out) {
    for (const bus::LinkStatus& link : node.links()) {
        out.paths.push_back({link.name(), link.kind(), link.state(), link.error()});
    }
    for (const bus::PingNodeStatus& one : node.ping_nodes()) {
        if (one.reachable()) out.any_ping_node_answers = true;
        else out.silent_ping_nodes.push_back(one.address());
    }
}

void take_clock(const bus::ReplicationStatus& replication, NodeFacts& out) {
    if (!replication.has_peer_clock()) return;
    const bus::PeerClock& clock = replication.peer_clock();
    out.clock = ClockFacts{replication.peer(), clock.ahead_ms(), clock.uncertain_ms()};
}

Running ask_daemons(const config::Paths& paths, NodeFacts& out) {
    Running running;
    for (const auto& [daemon, prefix] : {std::pair{"heartbeatd", "node"}, std::pair{"healthd", "config"},
                                         std::pair{"forwarderd", "forward"}, std::pair{"replicatord", "replication"}}) {
        const auto fetched = bus::fetch_all(paths.socket_of(daemon), prefix, answer_time);
        if (!fetched.ok()) continue;  // the other half of `diagnose` tells
        const std::string& version = fetched->server.version();
        if (version != out.own_version) out.versions.emplace_back(daemon, version);
        for (const bus::Item& item : fetched->items) {
            if (item.has_node()) {
                take_node(item.node(), out);
                running.heartbeatd = true;
            }
            if (item.has_replication()) take_clock(item.replication(), out);
            if (item.has_forward()) running.haproxy = item.forward().proxy().running();
        }
    }
    if (const auto pid = listener_of(paths.socket_of("heartbeatd"))) {
        const int policy = ::sched_getscheduler(*pid) & ~SCHED_RESET_ON_FORK;
        if (policy >= 0) out.realtime = policy == SCHED_RR || policy == SCHED_FIFO;
    }
    return running;
}

// Readable by others than the owner; those of the pair are 0600.
void look_at_keys(const config::Paths& paths, NodeFacts& out, std::vector<std::string>& not_examined) {
    std::error_code error;
    for (const auto& file : fs::directory_iterator(paths.keys_dir(), error)) {
        struct stat info{};
        if (file.path().extension() == ".pub" || ::lstat(file.path().c_str(), &info) != 0) continue;
        if ((info.st_mode & 077U) != 0) out.open_keys.emplace_back(file.path(), info.st_mode & 0777U);
    }
    if (error && error.value() != ENOENT) not_examined.push_back("the keys' files: " + error.message());
}

void ask_peer(const config::Paths& paths, NodeFacts& out, std::vector<std::string>& not_examined) {
    const auto text = config::read_text(paths.peer_file());
    if (!text) {
        if (text.error().code != ENOENT) not_examined.push_back("the peer's SSH server: " + text.error().message);
        return;
    }
    config::PeerRecord peer;
    config::Positions positions;
    config::Problems problems;
    if (!config::parse_yaml(*text, "peer.yaml", peer, positions, problems)) return;
    config::with_defaults(peer);
    const auto address = IpAddress::parse(peer.address());
    if (!address) return;
    out.peer_ssh = peer.address() + " port " + std::to_string(peer.port());
    const std::array<Endpoint, 1> endpoint{Endpoint{*address, static_cast<std::uint16_t>(peer.port())}};
    const Answer answer = ask_connections(endpoint).front();
    if (answer == Answer::refused) out.peer_ssh_error = "it refuses";
    else if (answer == Answer::silent) out.peer_ssh_error = "no answer";
    else if (answer == Answer::unreachable) out.peer_ssh_error = "not reachable";
}

}  // namespace

std::vector<ConfigError> errors_of(const config::Problems& problems) {
    std::vector<ConfigError> out;
    for (config::Problem problem : problems) {
        if (problem.warning) continue;
        const std::string hint = std::exchange(problem.hint, "");
        out.push_back({config::format(problem), hint});
    }
    return out;
}

NodeFacts gather_node(const Context& context, const config::LoadResult& loaded,
                      std::vector<std::string>& not_examined) {
    NodeFacts out;
    out.own_version = LBCLUSTER_VERSION;
    out.errors = errors_of(loaded.problems);
    for (const config::Problem& problem : loaded.problems) {
        if (problem.warning) out.problems.push_back(config::format(problem));
    }
    out.port = static_cast<std::uint16_t>(loaded.effective_cluster.heartbeat().port());
    for (const auto& [name, bytes] : loaded.files) {
        if (name.starts_with("certs/")) out.certificates.push_back(certificate_of(name, bytes));
    }
    const Running running = ask_daemons(context.paths, out);
    out.taken = look_at_ports(
        own_ports(loaded.effective_node, loaded.effective_cluster, context.paths.run_dir, running), not_examined);
    look_at_keys(context.paths, out, not_examined);
    ask_peer(context.paths, out, not_examined);
    struct statvfs disk{};
    if (::statvfs(context.paths.state_dir.c_str(), &disk) == 0) {
        out.disk = context.paths.state_dir;
        out.disk_free_bytes = std::uint64_t{disk.f_bavail} * disk.f_frsize;
    }
    return out;
}

}  // namespace lbcluster::cli
