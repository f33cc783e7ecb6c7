#include "tests/ipvs/cluster.hpp"

#include <algorithm>
#include <sstream>
#include <vector>

#include "tests/ipvs/slow.hpp"

namespace lbcluster::lab {

namespace {

PairSpec with_services(PairSpec spec, const std::string& services) {
    spec.more = "virtual_services:\n" + services;
    return spec;
}

std::vector<std::string> nodes_of(const PairSpec& spec) {
    if (spec.single) return {"lb1"};
    return {"lb1", "lb2"};
}

}  // namespace

Cluster::Cluster(Lab& lab, const std::string& folder, const PairSpec& spec, const std::string& services)
    : lab_(lab), spec_(with_services(spec, services)), pair_(lab, folder, spec_) {
    pair_.start();
    for (const std::string& node : nodes_of(spec_)) {
        pair_.healthd(node).start();
        pair_.forwarderd(node).start();
    }
}

void Cluster::configure(const std::string& services) {
    spec_ = with_services(spec_, services);
    pair_.write_cluster(spec_);
}

std::string Cluster::ipvs(const std::string& node) const {
    std::istringstream text(must_run_slowly(&lab_.host(node), {"ipvsadm", "-S", "-n"}));
    std::vector<std::string> lines;
    for (std::string line; std::getline(text, line);) lines.push_back(line + "\n");
    std::sort(lines.begin(), lines.end());
    std::string out;
    for (const std::string& line : lines) out += line;
    return out;
}

bool Cluster::ipvs_becomes(const std::string& node, const std::string& part, Nanoseconds limit) const {
    return wait_until([&] { return ipvs(node).find(part) != std::string::npos; }, limit, 20ms);
}
bool Cluster::ipvs_loses(const std::string& node, const std::string& part, Nanoseconds limit) const {
    return wait_until([&] { return ipvs(node).find(part) == std::string::npos; }, limit, 20ms);
}

Json Cluster::server(const std::string& node, const std::string& service, const std::string& label) const {
    const Json services = pair_.status(node)["services"];
    for (std::size_t i = 0; i < services.size(); ++i) {
        const Json servers = services[i]["servers"];
        for (std::size_t s = 0; s < servers.size() && services[i]["label"].text() == service; ++s) {
            if (servers[s]["label"].text() == label) return servers[s];
        }
    }
    return {};
}

void Cluster::power_off(const std::string& node) {
    lab_.cut_off(node, true);
    lab_.cable(node, "eth2", false);
    pair_.power_off(node);
}
void Cluster::power_on(const std::string& node) {
    lab_.cable(node, "eth2", true);
    pair_.power_on(node);
}

std::string Cluster::story(const std::string& node) const {
    const auto end_of = [](const std::string& text) {
        return text.substr(text.size() < 9000 ? 0 : text.size() - 9000);
    };
    std::string out = "---- " + node + "\n" + end_of(pair_.log(node)) + "---- IPVS and rules\n";
    const Namespace& host = lab_.host(node);
    for (const auto& words : {std::vector<std::string>{"ipvsadm", "-L", "-n"}, {"nft", "list", "ruleset"}})
        out += run(&host, words, "", {}, slow_limit).out;
    return out;
}

}  // namespace lbcluster::lab
