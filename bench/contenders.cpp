#include "bench/contenders.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <map>
#include <sstream>

#include "bench/page.hpp"
#include "tests/lab/daemon.hpp"
#include "tests/lab/measure.hpp"
#include "tests/lab/pair.hpp"

namespace lbcluster::bench {

namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

const std::string folder = "/run/bench/contender";
constexpr const char* one_more = "10.77.0.201";
constexpr const char* heartbeat_program = "/usr/libexec/heartbeat/heartbeat";

// A program that thinks it is alone on its machine: DIR/etc, DIR/lib and DIR/run are where it looks for its own.
//   $1 host name, $2 DIR, $3 where DIR/etc belongs, $4 where DIR/lib does, then the program
constexpr const char* alone = R"(set -e
hostname "$1"
mount -t proc proc /proc
mount --bind "$2/etc" "$3"
[ ! -d "$4" ] || mount --bind "$2/lib" "$4"
mount --bind "$2/run" /run
shift 4
exec "$@")";

lab::PairSpec pair_spec(const Setup& setup, std::size_t addresses) {
    lab::PairSpec spec;
    spec.timers = setup.timers;
    spec.links = {lab::LinkSpec::lan()};
    if (setup.two_links) spec.links.push_back(lab::LinkSpec::heartbeat_net());
    spec.floating_ips = floating_addresses(addresses);
    return spec;
}

// The package's limit: what does not fit into an advertisement is excluded from it.
constexpr std::size_t advertised_max = 20;

std::string keepalived_conf(const Setup& setup, const std::string& node, const std::vector<std::string>& addresses) {
    std::string global = "global_defs {\n    router_id " + node + "\n";
    std::string instance =
        "vrrp_instance lan {\n    state BACKUP\n    nopreempt\n    interface eth0\n    virtual_router_id 51\n"
        "    priority " +
        std::string(node == "lb1" ? "150" : "100") + "\n";
    std::istringstream lines(setup.timers);
    for (std::string line; std::getline(lines, line);)
        (line.starts_with("advert_int") ? instance : global) += "    " + line + "\n";
    const auto block = [&](const char* name, std::size_t begin, std::size_t end) {
        instance += std::string("    ") + name + " {\n";
        for (std::size_t i = begin; i < end; ++i)
            instance +=
                "        " + addresses[i] + (addresses[i].starts_with("10.77.") ? "/24" : "/32") + " dev eth0\n";
        instance += "    }\n";
    };
    block("virtual_ipaddress", 0, std::min(addresses.size(), advertised_max));
    if (addresses.size() > advertised_max) block("virtual_ipaddress_excluded", advertised_max, addresses.size());
    return global + "}\n" + instance + "}\n";
}

std::string ha_cf(const Setup& setup) {
    std::string text = "udpport 694\nlogfile /run/ha.log\n" + setup.timers + "\ninitdead 5\n";
    for (const char* link : {"eth0 10.77.0.11", "eth0 10.77.0.12", "eth1 10.78.0.11", "eth1 10.78.0.12"})
        if (setup.two_links || std::string(link).starts_with("eth0")) text += std::string("ucast ") + link + "\n";
    return text + "auto_failback off\nnode lb1\nnode lb2\n";
}

std::string haresources(const std::vector<std::string>& addresses) {
    std::string line = "lb1";
    for (const std::string& address : addresses)
        line += " IPaddr2::" + address + (address.starts_with("10.77.") ? "/24" : "/32") + "/eth0";
    return line + "\n";
}

constexpr const char* authkeys = "auth 1\n1 sha1 bench\n";

// RFC 3339, UTC, milliseconds.
std::optional<std::int64_t> nanoseconds_of(const std::string& time) {
    std::tm parts{};
    const char* rest = ::strptime(time.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
    if (rest == nullptr) return std::nullopt;
    return static_cast<std::int64_t>(::timegm(&parts)) * 1'000'000'000 +
           std::llround(std::strtod(rest, nullptr) * 1e3) * 1'000'000;
}

// ---- ours ----

class Ours : public Contender {
  public:
    Ours(lab::Lab& lab, const Setup& setup, std::size_t addresses) : pair_(lab, folder, pair_spec(setup, addresses)) {}

    void start(const std::string& node) override {
        pair_.daemon(node).set_restart(true);
        pair_.start(node);
    }
    void forget(const std::string& node) override { pair_.daemon(node).set_restart(false); }
    void clean(const std::string& node) override {
        for (const auto& entry : fs::directory_iterator(pair_.run_dir(node))) fs::remove_all(entry.path());
    }
    void hand_over(const std::string& from) override {
        const std::string to = lab::Pair::peer_of(from);
        const lab::Outcome outcome = pair_.cli(to, {"activate"});
        if (!outcome.ok()) lab::fail("activate on " + to + ": " + outcome.err + outcome.out);
    }
    bool settled(const std::string& active) override {
        const std::string passive = lab::Pair::peer_of(active);
        const lab::Json one = pair_.status(active);
        const lab::Json two = pair_.status(passive);
        return one["node"]["activity"].text() == "active" && two["node"]["activity"].text() == "passive" &&
               one["peer"]["state"].text() == "alive" && two["peer"]["state"].text() == "alive" &&
               !pair_.has_alarm(passive, "interface/eth0");
    }
    bool add_address(const std::string& node) override {
        lab::PairSpec more = pair_.spec();
        more.floating_ips.emplace_back(one_more);
        lab::write_file(pair_.config_dir(node) + "/cluster.yaml", cluster_yaml(more));
        return true;
    }
    std::optional<std::int64_t> claimed_ns(const std::string& node) override {
        const auto events = lab::events_of(pair_, node);
        for (auto event = events.rbegin(); event != events.rend(); ++event)
            if ((*event)["kind"].text() == "became-active") return nanoseconds_of((*event)["time"].text());
        return std::nullopt;
    }
    lab::EchoService& service() override { return pair_.service(); }
    std::string log(const std::string& node) override { return pair_.log(node); }

  private:
    lab::Pair pair_;
};

// ---- the others ----

class Foreign : public Contender {
  public:
    // `etc`: where its configuration belongs; `lib`: where its state does.
    Foreign(lab::Lab& lab, const std::string& etc, const std::string& lib, const std::vector<std::string>& command)
        : lab_(lab), service_({&lab.host("lb1"), &lab.host("lb2")}) {
        for (const std::string node : {"lb1", "lb2"}) {
            for (const char* part : {"/etc", "/lib", "/run"}) fs::create_directories(dir(node) + part);
            const auto options = fs::copy_options::recursive | fs::copy_options::overwrite_existing;
            fs::copy(etc, dir(node) + "/etc", options);
            if (fs::is_directory(lib)) fs::copy(lib, dir(node) + "/lib", options);
            std::vector<std::string> argv{"unshare", "--mount", "--uts",   "sh", "-c", alone,
                                          "sh",      node,      dir(node), etc,  lib};
            argv.insert(argv.end(), command.begin(), command.end());
            daemons_[node] = std::make_unique<lab::Daemon>(lab.host(node), argv, dir(node) + "/log");
            daemons_[node]->set_restart(false);
        }
    }
    // What it wrote may be its own: nothing of it is left for the next one.
    ~Foreign() override {
        for (auto& [node, daemon] : daemons_) lab_.kill_processes(node);
    }
    Foreign(const Foreign&) = delete;
    Foreign& operator=(const Foreign&) = delete;

    void start(const std::string& node) override {
        said_before_[node] = log(node).size();
        daemons_.at(node)->start();
    }
    void forget(const std::string& /*node*/) override {}
    void clean(const std::string& node) override {
        for (const auto& entry : fs::directory_iterator(dir(node) + "/run")) fs::remove_all(entry.path());
        prepare_run(node);
    }
    lab::EchoService& service() override { return service_; }
    std::string log(const std::string& node) override { return lab::read_file(dir(node) + "/log"); }

  protected:
    static std::string dir(const std::string& node) { return folder + "/" + node; }
    virtual void prepare_run(const std::string& /*node*/) {}
    [[nodiscard]] lab::Daemon& daemon(const std::string& node) { return *daemons_.at(node); }
    // Since it was started last.
    [[nodiscard]] std::string said(const std::string& node) {
        const std::string all = log(node);
        return all.substr(std::min(all.size(), said_before_[node]));
    }
    // A command that sees what the daemon sees.
    lab::Outcome beside(const std::string& node, const std::vector<std::string>& words) {
        std::vector<std::string> argv{"nsenter", "-t", std::to_string(daemon(node).pid()), "-m", "-u", "--"};
        argv.insert(argv.end(), words.begin(), words.end());
        return run(&lab_.host(node), argv);
    }

  private:
    lab::Lab& lab_;
    lab::EchoService service_;
    std::map<std::string, std::unique_ptr<lab::Daemon>> daemons_;
    std::map<std::string, std::size_t> said_before_;
};

const std::vector<std::string> keepalived_command{"keepalived", "--vrrp", "--dont-fork", "--log-console",
                                                  "--no-syslog"};

class Keepalived : public Foreign {
  public:
    Keepalived(lab::Lab& lab, const Setup& setup, std::size_t addresses)
        : Foreign(lab, "/etc/keepalived", "", keepalived_command),
          setup_(setup),
          addresses_(floating_addresses(addresses)) {
        for (const std::string node : {"lb1", "lb2"})
            lab::write_file(conf(node), keepalived_conf(setup_, node, addresses_));
    }
    void hand_over(const std::string& from) override {
        static_cast<void>(daemon(from).stop());
        clean(from);
        start(from);
    }
    bool settled(const std::string& active) override {
        return state(active) == "MASTER" && state(lab::Pair::peer_of(active)) == "BACKUP";
    }
    bool add_address(const std::string& node) override {
        std::vector<std::string> more = addresses_;
        more.emplace_back(one_more);
        lab::write_file(conf(node), keepalived_conf(setup_, node, more));
        daemon(node).signal(SIGHUP);
        return true;
    }

  private:
    static std::string conf(const std::string& node) { return dir(node) + "/etc/keepalived.conf"; }
    std::string state(const std::string& node) {
        const std::string text = said(node);
        const std::size_t at = text.rfind("Entering ");
        return at == std::string::npos ? "" : text.substr(at + 9, text.find(' ', at + 9) - at - 9);
    }

    const Setup setup_;
    const std::vector<std::string> addresses_;
};

class LinuxHa : public Foreign {
  public:
    LinuxHa(lab::Lab& lab, const Setup& setup, std::size_t addresses)
        : Foreign(lab, "/etc/ha.d", "/var/lib/heartbeat", {heartbeat_program, "-f"}) {
        for (const std::string node : {"lb1", "lb2"}) {
            lab::write_file(dir(node) + "/etc/ha.cf", ha_cf(setup));
            lab::write_file(dir(node) + "/etc/haresources", haresources(floating_addresses(addresses)));
            lab::write_file(dir(node) + "/etc/authkeys", authkeys, 0600);
            prepare_run(node);
        }
    }
    void hand_over(const std::string& from) override {
        const lab::Outcome outcome = beside(from, {"/usr/share/heartbeat/hb_standby"});
        if (!outcome.ok()) lab::fail("hb_standby: " + outcome.err + outcome.out);
    }
    bool settled(const std::string& active) override {
        const std::string passive = lab::Pair::peer_of(active);
        return word(active, {"cl_status", "nodestatus", passive}) == "active" &&
               word(passive, {"cl_status", "nodestatus", active}) == "active" &&
               word(active, {"cl_status", "rscstatus"}) != "transition" &&
               word(passive, {"cl_status", "rscstatus"}) != "transition";
    }
    bool add_address(const std::string& /*node*/) override { return false; }
    std::string log(const std::string& node) override {
        return Foreign::log(node) + lab::read_file(dir(node) + "/run/ha.log");
    }

  private:
    // As the package's tmpfiles.d has it.
    void prepare_run(const std::string& node) override {
        for (const char* part :
             {"/heartbeat", "/heartbeat/ccm", "/heartbeat/crm", "/heartbeat/dopd", "/resource-agents"})
            fs::create_directories(dir(node) + "/run" + part);
        lab::must_run(nullptr, {"chown", "-R", "hacluster:haclient", dir(node) + "/run/heartbeat"});
    }
    std::string word(const std::string& node, const std::vector<std::string>& command) {
        const std::string out = beside(node, command).out;
        return out.substr(0, out.find('\n'));
    }
};

}  // namespace

std::vector<std::string> floating_addresses(std::size_t count) {
    std::vector<std::string> out{first_address};
    for (std::size_t i = 0; i + 2 < count; ++i)
        out.push_back("10.99." + std::to_string(i / 250) + "." + std::to_string(1 + i % 250));
    if (count > 1) out.emplace_back(last_address);
    return out;
}

std::vector<Setup> all_setups() {
    const auto of = [](Product product, const char* name, const char* timers, bool two_links, std::size_t most) {
        return Setup{product, name, timers, two_links, most};
    };
    return {of(Product::ours, "lbcluster, lan", "profile: lan", true, 1000),
            of(Product::ours, "lbcluster, lan, one link", "profile: lan", false, 1),
            of(Product::ours, "lbcluster, 10/30 ms", "keepalive: 10ms\ndeadtime: 30ms", true, 1000),
            of(Product::ours, "lbcluster, 10/30 ms, one link", "keepalive: 10ms\ndeadtime: 30ms", false, 1),
            of(Product::ours, "lbcluster, 5/15 ms, one link", "keepalive: 5ms\ndeadtime: 15ms", false, 1000),
            of(Product::keepalived, "keepalived, 1 s", "", false, 1000),
            of(Product::keepalived, "keepalived, 100 ms", "vrrp_version 3\nadvert_int 0.1", false, 1),
            of(Product::keepalived, "keepalived, 10 ms", "vrrp_version 3\nadvert_int 0.01", false, 1000),
            of(Product::keepalived, "keepalived, 10 ms, real-time",
               "vrrp_version 3\nvrrp_rt_priority 50\nvrrp_no_swap\nadvert_int 0.01", false, 1),
            of(Product::heartbeat, "heartbeat, 1/3 s", "keepalive 1\nwarntime 2\ndeadtime 3", false, 100),
            of(Product::heartbeat, "heartbeat, 50/250 ms", "keepalive 50ms\nwarntime 150ms\ndeadtime 250ms", false, 1)};
}

std::string name_of(Product product) {
    return product == Product::ours ? "lbcluster" : product == Product::keepalived ? "keepalived" : "heartbeat";
}

std::string version_of(Product product) {
    if (product == Product::ours) return version_line({lab::heartbeatd_path(), "--version"});
    if (product == Product::keepalived) return version_line({"keepalived", "--version"});
    const std::string version = version_line({heartbeat_program, "-V"});
    return version.empty() ? "" : "Linux-HA heartbeat " + version;
}

std::string configuration_of(const Setup& setup) {
    const auto file = [](const std::string& path, const std::string& text) { return "# " + path + "\n" + text; };
    const std::vector<std::string> one{first_address};
    switch (setup.product) {
        case Product::ours: {
            const lab::PairSpec spec = pair_spec(setup, 1);
            return "$ heartbeatd\n" + file("/etc/lbcluster/cluster.yaml", cluster_yaml(spec)) +
                   file("/etc/lbcluster/node.yaml", node_yaml(spec, "lb1"));
        }
        case Product::keepalived: {
            std::string command = "$";
            for (const std::string& word : keepalived_command) command += " " + word;
            return command + "\n" + file("/etc/keepalived/keepalived.conf", keepalived_conf(setup, "lb1", one));
        }
        case Product::heartbeat:
            return std::string("$ ") + heartbeat_program + " -f\n" + file("/etc/ha.d/ha.cf", ha_cf(setup)) +
                   file("/etc/ha.d/haresources", haresources(one)) + file("/etc/ha.d/authkeys", authkeys);
    }
    return "";
}

std::string heartbeats_of(Product product) {
    return product == Product::ours         ? lab::heartbeats
           : product == Product::keepalived ? "ip protocol 112"
                                            : "udp dport 694";
}

std::unique_ptr<Contender> make(lab::Lab& lab, const Setup& setup, std::size_t addresses) {
    fs::remove_all(folder);
    fs::create_directories(folder);
    switch (setup.product) {
        case Product::ours:
            return std::make_unique<Ours>(lab, setup, addresses);
        case Product::keepalived:
            return std::make_unique<Keepalived>(lab, setup, addresses);
        case Product::heartbeat:
            return std::make_unique<LinuxHa>(lab, setup, addresses);
    }
    return nullptr;
}

std::vector<pid_t> processes_of(const std::string& host) {
    struct stat wanted{};
    if (::stat(("/run/netns/" + host + ".pid").c_str(), &wanted) != 0) lab::fail_errno("processes of " + host);
    std::vector<pid_t> out;
    for (const auto& entry : fs::directory_iterator("/proc")) {
        const pid_t pid = std::atoi(entry.path().filename().c_str());
        struct stat info{};
        if (pid <= 0 || ::stat((entry.path().string() + "/ns/pid").c_str(), &info) != 0) continue;
        if (info.st_ino == wanted.st_ino && !lab::process_status(pid, "NSpid").ends_with("\t1")) out.push_back(pid);
    }
    return out;
}

void signal_all(const std::string& host, int number) {
    for (const pid_t pid : processes_of(host)) ::kill(pid, number);
}

Usage usage_of_host(const std::string& host) {
    Usage sum;
    for (const pid_t pid : processes_of(host)) {
        const Usage one = usage_of_one(pid);
        sum.cpu += one.cpu;
        sum.resident_kib += one.resident_kib;
        sum.own_kib += one.own_kib;
        ++sum.processes;
    }
    return sum;
}

}  // namespace lbcluster::bench
