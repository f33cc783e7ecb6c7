#include "cli/core/node_diagnosis.hpp"

#include <utility>

namespace lbcluster::cli {
namespace {

constexpr std::int64_t day_seconds = 86'400;
constexpr std::int64_t soon_days = 30;
constexpr std::uint64_t disk_bytes_low = 64UL * 1024 * 1024;
constexpr std::uint64_t clock_ms_max = 2'000;

std::string octal(std::uint32_t mode) {
    std::string out = "0";
    for (const unsigned shift : {6U, 3U, 0U}) out += static_cast<char>('0' + ((mode >> shift) & 7U));
    return out;
}

class Judge {
  public:
    explicit Judge(const NodeFacts& facts) : facts_(facts) {}

    std::vector<Finding> run() {
        out_ = judge_errors(facts_.errors);
        for (const std::string& problem : facts_.problems) {
            add("config", Severity::warning, problem, "lbcluster config check");
        }
        for (const TakenPorts& one : facts_.taken) taken(one);
        paths();
        clock();
        for (const std::string& node : facts_.silent_ping_nodes) {
            if (!facts_.any_ping_node_answers) break;
            add("ping-node-silent", Severity::warning, "ping node " + node + " does not answer",
                "ping -c 3 " + node + "\nheartbeat.ping_nodes should name machines that always answer");
        }
        files();
        certificates();
        for (const auto& [daemon, version] : facts_.versions) {
            add("version", Severity::warning,
                daemon + " runs as version " + version + ", this program is " + facts_.own_version,
                daemon == "heartbeatd" ? "lbcluster heartbeat restart" : "systemctl restart " + daemon);
        }
        if (!facts_.peer_ssh_error.empty()) {
            add("peer-ssh", Severity::alarm,
                "the peer's SSH server does not answer at " + facts_.peer_ssh + " (" + facts_.peer_ssh_error +
                    "), so the configuration does not reach it",
                "on the peer: systemctl status ssh; ss -tln\nis its port open in both firewalls?");
        }
        if (facts_.realtime == false) {
            add("not-realtime", Severity::warning,
                "heartbeatd has no real-time priority: on a loaded machine its heartbeats may come late",
                "run it by its systemd unit, or give it CAP_SYS_NICE and LimitRTPRIO");
        }
        return std::move(out_);
    }

  private:
    void add(const char* id, Severity severity, std::string text, std::string action) {
        out_.push_back({id, severity, "", "", std::move(text), std::move(action)});
    }

    void taken(const TakenPorts& one) {
        std::set<std::uint16_t> ports;
        std::set<std::string> addresses;
        for (const auto& [address, port] : one.places) {
            addresses.insert(address.is_unspecified() ? "every address" : address.to_string());
            ports.insert(port);
        }
        std::string where;
        for (const std::string& address : addresses) where += (where.empty() ? "" : ", ") + address;
        const std::string protocol = one.own.udp ? "UDP" : "TCP";
        const std::string first = std::to_string(*ports.begin());
        const std::string more = ports.size() > 1 ? " and " + std::to_string(ports.size() - 1) + " more" : "";
        const std::string pid = std::to_string(one.holder.pid);
        const std::string who = one.holder.pid == 0
                                    ? "something that /proc does not show (the kernel itself, or a container)"
                                    : one.holder.name + ", process " + pid;
        const std::string daemon = one.own.daemon == "haproxy" ? "HAProxy" : one.own.daemon;
        std::string follows = one.own.udp ? ", so it does not hear the peer there"
                                          : ", so it does not start, or goes on with the configuration before";
        if (one.shared) follows = "; both listen there, so some of it goes astray";
        add("port-taken", Severity::alarm,
            protocol + " port " + first + more + " is held by " + who + ": " + daemon + " needs it for " +
                one.own.purpose + " (" + where + ")" + follows,
            (one.holder.pid == 0 ? "ss -Hlnp " + std::string(one.own.udp ? "-u" : "-t") + " sport = :" + first
                                 : "systemctl status " + pid + "      # what is it?") +
                "\nstop it, or give one of them another port (" + one.own.key + ")");
    }

    // A port that is taken is the reason, and has been told.
    [[nodiscard]] bool port_is_taken(const PathFacts& path) const {
        for (const TakenPorts& one : facts_.taken) {
            for (const auto& [address, port] : one.places) {
                if (one.own.udp && !one.shared && path.name.find(" " + address.to_string() + "-") != std::string::npos)
                    return true;
            }
        }
        return false;
    }

    void clock() {
        if (!facts_.clock) return;
        const std::int64_t ahead = facts_.clock->ahead_ms;
        const auto differs = static_cast<std::uint64_t>(ahead < 0 ? -ahead : ahead);
        if (differs <= clock_ms_max + facts_.clock->uncertain_ms) return;
        const std::string tenths = std::to_string(differs % 1000 / 100);
        add("clock-differs", Severity::warning,
            "the clock of " + facts_.clock->peer + " is " + std::to_string(differs / 1000) + "." + tenths + " s " +
                (ahead < 0 ? "behind" : "ahead of") + " this node's (± " + std::to_string(facts_.clock->uncertain_ms) +
                " ms): events and revisions of the two nodes are told in a wrong order, and certificates begin and end "
                "at different times",
            "timedatectl      # on both nodes: which clock is wrong, is it synchronised?");
    }

    void paths() {
        const std::string port = std::to_string(facts_.port);
        for (const PathFacts& path : facts_.paths) {
            if (path.state == "up" || path.state.empty() || port_is_taken(path)) continue;
            const bool serial = path.kind == "serial";
            std::string action;
            if (path.state == "one-way") {
                action = serial ? "the cable: are both directions connected?"
                                : "on the peer: does its firewall let UDP " + port +
                                      " in?\nnft list ruleset; tcpdump -ni " + "any udp port " + port;
            } else {
                action = serial
                             ? "the cable; is heartbeatd running on the peer, with the same baud?"
                             : "is the peer running?\nis UDP " + port + " open in both firewalls? nft list ruleset\n" +
                                   "tcpdump -ni any udp port " + port;
            }
            add(path.state == "one-way" ? "link-one-way" : "link-down", Severity::warning,
                "heartbeat path " + path.name + " is " + path.state +
                    (path.state == "one-way" ? ": the peer is heard, and does not hear this node" : "") +
                    (path.error.empty() ? "" : ": " + path.error),
                action);
        }
    }

    void files() {
        for (const auto& [file, mode] : facts_.open_keys) {
            add("key-readable", Severity::alarm, file + " has mode " + octal(mode) + ": others may read this secret",
                "chmod go= " + file + "\nlbcluster key rotate      # whoever could read it has it");
        }
        if (facts_.disk_free_bytes && *facts_.disk_free_bytes < disk_bytes_low) {
            add("disk-full", Severity::alarm,
                std::to_string(*facts_.disk_free_bytes / 1024 / 1024) + " MiB are left for " + facts_.disk +
                    ": revisions and events may not be kept",
                "df -h " + facts_.disk);
        }
    }

    void certificates() {
        for (const CertificateFacts& one : facts_.certificates) {
            const std::string action = "put the renewed one there: certificate, its chain, private key\nlbcluster sync";
            if (!one.error.empty()) {
                add("certificate", Severity::alarm, one.file + ": " + one.error, action);
            } else if (one.seconds && *one.seconds < 0) {
                add("certificate-expired", Severity::alarm,
                    one.file + " expired " + std::to_string(-*one.seconds / day_seconds) + " days ago", action);
            } else if (one.seconds && *one.seconds < soon_days * day_seconds) {
                add("certificate-expires", Severity::warning,
                    one.file + " expires in " + std::to_string(*one.seconds / day_seconds) + " days", action);
            }
        }
    }

    const NodeFacts& facts_;
    std::vector<Finding> out_;
};

}  // namespace

std::vector<Finding> judge_errors(const std::vector<ConfigError>& errors) {
    std::vector<Finding> out;
    for (const ConfigError& error : errors) {
        out.push_back({"config-invalid", Severity::alarm, "", "", error.text,
                       (error.hint.empty() ? "" : error.hint + "\n") +
                           "lbcluster config check      # until that is content, a daemon keeps what it has\n"
                           "lbcluster config history; lbcluster config rollback REV      # or back to an older one"});
    }
    return out;
}

std::vector<Finding> judge_node(const NodeFacts& facts) { return Judge(facts).run(); }

}  // namespace lbcluster::cli
