#include "tests/lab/pair.hpp"

#include <google/protobuf/util/json_util.h>
#include <openssl/rand.h>
#include <sys/stat.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <sstream>

namespace lbcluster::lab {

namespace {

std::string program(const char* built) {
    // LBCLUSTER_BIN_DIR: another build's or installed programs in one folder.
    const char* folder = std::getenv("LBCLUSTER_BIN_DIR");
    if (folder == nullptr) return built;
    return std::string(folder) + "/" + std::filesystem::path(built).filename().string();
}

std::string random_hex(std::size_t bytes) {
    std::vector<unsigned char> data(bytes);
    if (RAND_bytes(data.data(), static_cast<int>(bytes)) != 1) fail("no random bytes");
    std::string text;
    for (const unsigned char byte : data) {
        text += "0123456789abcdef"[byte >> 4];
        text += "0123456789abcdef"[byte & 15];
    }
    return text;
}

std::string address_only(const std::string& address) { return address.substr(0, address.find('/')); }

void write_new(const std::string& path, const std::string& text, unsigned mode = 0644) {
    if (!std::filesystem::exists(path)) write_file(path, text, mode);
}

// "10.77.0.200", or any mapping as it stands: "{address: ..., interface: eth0}".
std::string floating_ip_address(const std::string& entry) {
    const std::size_t key = entry.find("address: ");
    if (key == std::string::npos) return address_only(entry);
    const std::size_t begin = entry.find_first_not_of(" \"'", key + 9);
    return address_only(entry.substr(begin, entry.find_first_of(",}\"' ", begin) - begin));
}

}  // namespace

std::string heartbeatd_path() { return program(LAB_HEARTBEATD); }
std::string healthd_path() { return program(LAB_HEALTHD); }
std::string forwarderd_path() { return program(LAB_FORWARDERD); }
std::string replicatord_path() { return program(LAB_REPLICATORD); }
std::string cli_path() { return program(LAB_CLI); }

Json Json::parse(const std::string& text) {
    google::protobuf::Value value;
    const auto status = google::protobuf::util::JsonStringToMessage(text, &value);
    if (!status.ok()) fail("not JSON (" + std::string(status.message()) + "): " + text);
    return Json(std::move(value));
}

Json Json::operator[](const std::string& key) const {
    const auto& fields = value_.struct_value().fields();
    const auto found = fields.find(key);
    return found == fields.end() ? Json() : Json(found->second);
}

Json Json::operator[](std::size_t index) const {
    return index < size() ? Json(value_.list_value().values(static_cast<int>(index))) : Json();
}

std::size_t Json::size() const { return static_cast<std::size_t>(value_.list_value().values_size()); }

double Json::sum(const std::string& prefix) const {
    double total = 0;
    for (const auto& [name, value] : value_.struct_value().fields())
        if (name.starts_with(prefix)) total += value.number_value();
    return total;
}

LinkSpec LinkSpec::lan() {
    return {"{interface: eth0, local: 10.77.0.11, peer: 10.77.0.12}",
            "{interface: eth0, local: 10.77.0.12, peer: 10.77.0.11}"};
}
LinkSpec LinkSpec::heartbeat_net() {
    return {"{interface: eth1, local: 10.78.0.11, peer: 10.78.0.12}",
            "{interface: eth1, local: 10.78.0.12, peer: 10.78.0.11}"};
}
LinkSpec LinkSpec::through_relay() {
    return {"{interface: eth1, local: 10.78.0.11, peer: 10.78.0.50}",
            "{interface: eth1, local: 10.78.0.12, peer: 10.78.0.50}"};
}
LinkSpec LinkSpec::serial(const std::string& device_lb1, const std::string& device_lb2) {
    return {"{serial: " + device_lb1 + ", baud: 115200}", "{serial: " + device_lb2 + ", baud: 115200}"};
}

std::string cluster_yaml(const PairSpec& spec) {
    std::string text = "heartbeat:\n";
    for (std::size_t begin = 0; begin < spec.timers.size();) {
        const std::size_t end = std::min(spec.timers.find('\n', begin), spec.timers.size());
        text += "  " + spec.timers.substr(begin, end - begin) + "\n";
        begin = end + 1;
    }
    if (!spec.ping_nodes.empty()) {
        text += "  ping_nodes: [";
        for (std::size_t i = 0; i < spec.ping_nodes.size(); ++i)
            text += (i == 0 ? "" : ", ") + ("'" + spec.ping_nodes[i] + "'");
        text += "]\n";
    }
    if (!spec.floating_ips.empty()) text += "floating_ips:\n";
    for (const auto& entry : spec.floating_ips)
        text += entry.starts_with("{") ? "  - " + entry + "\n" : "  - {address: '" + entry + "', interface: lan}\n";
    return text + spec.more;
}

std::string node_yaml(const PairSpec& spec, const std::string& node) {
    std::string text =
        "node: " + node + "\nrole: " + (node == "lb1" ? "primary" : "secondary") + "\ninterfaces: {lan: eth0}\n";
    if (spec.single || spec.links.empty()) return text;
    text += "links:\n";
    for (const LinkSpec& link : spec.links) text += "  - " + (node == "lb1" ? link.lb1 : link.lb2) + "\n";
    return text;
}

Pair::Pair(Lab& lab, const std::string& folder, const PairSpec& spec)
    : lab_(lab), folder_(folder), spec_(spec), service_({&lab.host("lb1"), &lab.host("lb2")}) {
    const std::string key = "cluster: " + random_hex(16) + "\nkey: " + random_hex(32) + "\n";
    for (const std::string node : {"lb1", "lb2"}) {
        std::filesystem::create_directories(config_dir(node));
        std::filesystem::create_directories(run_dir(node));
        std::filesystem::create_directories(state_dir(node) + "/keys");
        ::chmod((state_dir(node) + "/keys").c_str(), 0700);
        write_new(config_dir(node) + "/node.yaml", node_yaml(spec, node));
        write_new(config_dir(node) + "/cluster.yaml", cluster_yaml(spec));
        write_new(state_dir(node) + "/keys/heartbeat.key", key, 0600);
        daemons_[node] = std::make_unique<Daemon>(
            lab.host(node),
            std::vector<std::string>{heartbeatd_path(), "--config-dir", config_dir(node), "--run-dir", run_dir(node),
                                     "--state-dir", state_dir(node)},
            folder_ + "/" + node + ".log");
    }
}

std::string Pair::config_dir(const std::string& node) const { return folder_ + "/" + node; }
std::string Pair::run_dir(const std::string& node) const { return folder_ + "/" + node + "/run"; }
std::string Pair::state_dir(const std::string& node) const { return folder_ + "/" + node + "/state"; }

std::vector<std::string> Pair::environment(const std::string& node) const {
    return {"LBCLUSTER_CONFIG_DIR=" + config_dir(node), "LBCLUSTER_RUN_DIR=" + run_dir(node),
            "LBCLUSTER_STATE_DIR=" + state_dir(node)};
}

void Pair::write_cluster(const PairSpec& spec) {
    spec_ = spec;
    for (const char* node : {"lb1", "lb2"}) write_file(config_dir(node) + "/cluster.yaml", cluster_yaml(spec));
}

void Pair::start() {
    start("lb1");
    if (!spec_.single) start("lb2");
}
void Pair::start(const std::string& node) { daemon(node).start(); }
Daemon& Pair::daemon(const std::string& node) { return *daemons_.at(node); }

Daemon& Pair::companion(const std::string& node, const std::string& program) {
    auto& daemon = companions_[node][program];
    if (!daemon) {
        const std::string path = program == "healthd"      ? healthd_path()
                                 : program == "forwarderd" ? forwarderd_path()
                                                           : replicatord_path();
        daemon = std::make_unique<Daemon>(lab_.host(node),
                                          std::vector<std::string>{path, "--config-dir", config_dir(node), "--run-dir",
                                                                   run_dir(node), "--state-dir", state_dir(node)},
                                          folder_ + "/" + node + "." + program + ".log");
    }
    return *daemon;
}

Outcome Pair::cli(const std::string& node, const std::vector<std::string>& words, Nanoseconds limit) const {
    std::vector<std::string> argv{cli_path()};
    argv.insert(argv.end(), words.begin(), words.end());
    Outcome outcome = run(&lab_.host(node), argv, "", environment(node), limit);
    std::istringstream lines(outcome.out + outcome.err);
    const std::lock_guard lock(said_mutex_);
    for (std::string line; std::getline(lines, line);) said_.insert(line);
    return outcome;
}

std::string Pair::said() const {
    const std::lock_guard lock(said_mutex_);
    std::string all;
    for (const std::string& line : said_) all += line + "\n";
    return all;
}

Json Pair::status(const std::string& node) const {
    const Outcome outcome = cli(node, {"status", "--json"}, 5s);
    return outcome.ok() ? Json::parse(outcome.out) : Json();
}

std::string Pair::activity(const std::string& node) const { return status(node)["node"]["activity"].text(); }

bool Pair::has_alarm(const std::string& node, const std::string& id) const {
    const Json alarms = status(node)["alarms"];
    for (std::size_t i = 0; i < alarms.size(); ++i)
        if (alarms[i]["id"].text() == id) return true;
    return false;
}

bool Pair::wait_settled(const std::string& active, Nanoseconds limit) const {
    const auto settled = [&] {
        const auto here = lab_.addresses(active);
        const auto there = lab_.addresses(peer_of(active));
        for (const auto& entry : spec_.floating_ips) {
            const std::string address = floating_ip_address(entry);
            if (!here.contains(address) || there.contains(address)) return false;
        }
        return activity(active) == "active" && (spec_.single || activity(peer_of(active)) == "passive");
    };
    return wait_until(settled, limit, 20ms);
}

void Pair::power_off(const std::string& node) {
    lab_.cut_off(node, true);
    daemon(node).vanish();
    for (const auto& [program, daemon] : companions_[node]) daemon->vanish();
    service_.set_powered(node, false);
    lab_.kill_processes(node);
    lab_.cable(node, "eth0", false);
    lab_.cable(node, "eth1", false);
}

void Pair::power_on(const std::string& node) {
    lab_.reset_addresses(node);
    for (const auto& entry : std::filesystem::directory_iterator(run_dir(node)))
        std::filesystem::remove_all(entry.path());
    lab_.cable(node, "eth0", true);
    lab_.cable(node, "eth1", true);
    lab_.cut_off(node, false);
    service_.set_powered(node, true);
    start(node);
    for (const auto& [program, daemon] : companions_[node]) daemon->start();
}

std::string Pair::log(const std::string& node) const {
    std::string log = daemons_.at(node)->log();
    const auto companions = companions_.find(node);
    if (companions == companions_.end()) return log;
    for (const auto& [program, daemon] : companions->second) log += "---- " + program + "\n" + daemon->log();
    return log;
}

}  // namespace lbcluster::lab
