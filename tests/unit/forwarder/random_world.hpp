// A small world of services that changes at random, so that things meet: for tests of histories, against a model of the
// kernel and against the real one.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "tests/unit/forwarder/specs.hpp"

namespace lbcluster::forward::test {

using Endpoint = std::tuple<IpAddress, bool, std::uint16_t>;  // address, UDP, port

// A small world, so that things meet: three addresses, ports 80 to 85, six servers.
class World {
  public:
    explicit World(std::uint64_t seed) : random_(seed) {}

    std::size_t below(std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random_); }
    bool chance(unsigned percent) { return below(100) < percent; }

    void change_a_service() {
        auto& services = spec.services;
        if (services.size() < 4 && (services.empty() || chance(30))) {
            services.push_back(make("v" + std::to_string(next_label_++)));
        } else if (chance(15)) {
            services.erase(services.begin() + static_cast<std::ptrdiff_t>(below(services.size())));
        } else {
            change(services[below(services.size())]);
        }
        keep_apart();
        if (chance(10)) std::shuffle(services.begin(), services.end(), random_);
        if (chance(10)) spec.node.auto_nat = chance(50) ? std::vector<std::string>{"eth0"} : std::vector<std::string>{};
        if (chance(10)) spec.node.sync_interface = chance(50) ? "eth1" : "";
    }
    Verdict verdict() {
        Verdict out;
        out.health = static_cast<Health>(below(4));
        if (chance(30)) out.percent = static_cast<std::uint32_t>(below(3) * 50);
        if (chance(20)) out.wish = static_cast<Wish>(below(3));
        return out;
    }

    Spec spec;

  private:
    ServiceSpec make(const std::string& label) {
        ServiceSpec out = service(label, "10.0.0." + std::to_string(100 + below(3)), {}, {});
        if (chance(30)) out.traffic.address = ip("fd00::1");
        change_ports(out);
        const std::size_t servers = below(4);
        for (std::size_t i = 0; i < servers; ++i) add_server(out);
        return out;
    }
    void change_ports(ServiceSpec& out) {
        out.traffic.ports.clear();
        auto port = static_cast<std::uint16_t>(80 + below(3));
        const std::size_t count = 1 + below(2);
        for (std::size_t i = 0; i < count; ++i) {
            const auto last = static_cast<std::uint16_t>(port + below(2));
            out.traffic.ports.push_back({port, last});
            port = static_cast<std::uint16_t>(last + 2);
        }
        out.traffic.tcp = chance(70);
        out.traffic.udp = !out.traffic.tcp || chance(20);
    }
    void add_server(ServiceSpec& out) {
        const std::string number = std::to_string(1 + below(6));
        const ServerSpec made = server("s" + number, (out.traffic.address.is_v6() ? "fd00::" : "10.0.0.") + number);
        for (const ServerSpec& other : out.servers) {
            if (other.label == made.label) return;
        }
        out.servers.push_back(made);
    }
    void change(ServiceSpec& out) {
        switch (below(10)) {
            case 0:
                return change_ports(out);
            case 1:
                out.method = static_cast<Method>(below(4));
                return;
            case 2:
                out.scheduler = std::vector<std::string>{"wlc", "mh", "dh", "rr"}[below(4)];
                return;
            case 3:
                out.quiesce = !out.quiesce;
                return;
            case 4:
                out.fallback = {};
                out.fallback.kind = static_cast<FallbackSpec::Kind>(below(4));
                out.fallback.server = "s" + std::to_string(1 + below(6));
                out.fallback.address = ip(out.traffic.address.is_v6() ? "fd00::9" : "10.0.0.9");
                out.fallback.method = static_cast<Method>(below(4));
                return;
            case 5:
                if (chance(50)) out.persistence = Persistence{600s, 24};
                else out.persistence.reset();
                return;
            case 6:
                if (!out.servers.empty()) out.servers.erase(out.servers.begin());
                return;
            case 7:
                for (ServerSpec& one : out.servers) one.state = static_cast<State>(below(3));
                return;
            case 8:
                for (ServerSpec& one : out.servers) one.weight = static_cast<std::uint32_t>(below(3) * 50);
                return;
            default:
                return add_server(out);
        }
    }
    // As the configuration's check has it: no endpoint twice.
    void keep_apart() {
        std::set<Endpoint> taken;
        std::erase_if(spec.services, [&](const ServiceSpec& one) {
            std::vector<Endpoint> mine;
            for (const Ports& ports : one.traffic.ports) {
                for (unsigned port = ports.first; port <= ports.last; ++port) {
                    if (one.traffic.tcp) mine.emplace_back(one.traffic.address, false, port);
                    if (one.traffic.udp) mine.emplace_back(one.traffic.address, true, port);
                }
            }
            for (const Endpoint& endpoint : mine) {
                if (taken.contains(endpoint)) return true;
            }
            taken.insert(mine.begin(), mine.end());
            return false;
        });
    }

    std::mt19937_64 random_;
    unsigned next_label_ = 1;
};

inline std::vector<Endpoint> endpoints() {
    std::vector<Endpoint> out;
    for (const char* address : {"10.0.0.100", "10.0.0.101", "10.0.0.102", "fd00::1"}) {
        for (std::uint16_t port = 80; port < 90; ++port) {
            out.emplace_back(ip(address), false, port);
            out.emplace_back(ip(address), true, port);
        }
    }
    return out;
}

inline std::string in_words(const Table& table) {
    std::string out;
    for (const auto& [key, service] : table) {
        out += key.to_string() + " " + service.settings.scheduler + ": " + text_of(service) + "\n";
    }
    return out;
}

}  // namespace lbcluster::forward::test
