// A kernel in memory: IPVS, nftables, routes, sysctls and sync daemons, with the real one's answers to what cannot be
// done.
#pragma once

#include <algorithm>
#include <cerrno>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "forwarder/kernel.hpp"

namespace lbcluster::forward::test {

class ModelKernel final : public Kernel {
  public:
    Result<std::string> ipvs() override {
        if (!has_ipvs) return Error{"this kernel has no IPVS", "load its module: modprobe ip_vs", ENOENT};
        return std::string("1.2.1");
    }
    Result<Reading> read(const std::set<ServiceKey>& which) override {
        ++reads;
        if (!has_ipvs) return Error{"this kernel has no IPVS", "", ENOENT};
        Reading out;
        for (const auto& [key, service] : table) {
            out.table[key].settings = service.settings;
            if (!which.contains(key)) continue;
            out.table[key] = service;
            for (const Destination& one : service.destinations) {
                const Counters counters{connections, 2, 0, 3, 10, 1000, 2000};
                out.counters[key].servers[one.key] = counters;
                out.counters[key].total.active += counters.active;
            }
        }
        return out;
    }
    std::vector<Result<void>> carry_out(std::span<const Step> steps) override {
        std::vector<Result<void>> out;
        for (const Step& step : steps) {
            const int code = refuse ? refuse(step) : 0;
            out.push_back(code != 0 ? Error{"cannot " + step.to_string(), "", code} : one(step));
            done.push_back(step);
            if (after_step) after_step();
        }
        return out;
    }
    Result<std::vector<Sync>> syncs() override { return running; }
    Result<void> start_sync(const Sync& sync) override {
        for (const Sync& one : running) {
            if (one.role == sync.role) return Error{"it runs already", "", EEXIST};
        }
        if (sync.interface == "none0") return Error{"no such interface", "", ENODEV};
        running.push_back(sync);
        return {};
    }
    Result<void> stop_sync(const Sync& sync) override {
        if (refuse_stop_sync) return Error{"cannot stop the connection sync", "", EPERM};
        std::erase_if(running, [&](const Sync& one) { return one.role == sync.role; });
        return {};
    }
    Result<Timeouts> timeouts() override { return current_timeouts; }
    Result<void> set_timeouts(const Timeouts& wanted) override {
        const auto take = [](seconds want, seconds& have) { have = want == seconds{0} ? have : want; };
        take(wanted.tcp, current_timeouts.tcp);
        take(wanted.tcp_fin, current_timeouts.tcp_fin);
        take(wanted.udp, current_timeouts.udp);
        return {};
    }
    Result<std::string> rules() override {
        if (!has_nft) return Error{"no nftables", "", EIO};
        return rules_text.empty() ? std::string() : "as listed: " + rules_text;
    }
    Result<void> set_rules(const std::string& text) override {
        if (!has_nft || refuse_rules) return Error{"no nftables", "", EIO};
        rules_text = text;
        ++rules_set;
        if (after_rules) after_rules();
        return {};
    }
    Result<bool> delivers(bool v6) override { return delivered.contains(v6); }
    Result<void> set_delivery(bool v6, bool wanted) override {
        if (refuse_delivery) return Error{"cannot add the route", "", EIO};
        if (wanted) delivered.insert(v6);
        else delivered.erase(v6);
        return {};
    }
    Result<std::string> sysctl(const std::string& name) override {
        const auto found = sysctls.find(name);
        if (found == sysctls.end())
            return Error{"cannot read the sysctl " + name + ": No such file or directory", "", ENOENT};
        return found->second;
    }
    Result<void> set_sysctl(const std::string& name, const std::string& value) override {
        if (read_only) return Error{"cannot set the sysctl " + name + ": Read-only file system", "", EROFS};
        sysctls[name] = value;
        return {};
    }

    bool has_ipvs = true;
    bool has_nft = true;
    bool refuse_rules = false;
    bool refuse_delivery = false;
    bool refuse_stop_sync = false;
    std::set<bool> delivered;  // true: IPv6
    bool read_only = false;
    std::uint64_t connections = 1;
    Table table;
    std::string rules_text;
    std::map<std::string, std::string> sysctls{{"net.ipv4.vs.expire_nodest_conn", "0"},
                                               {"net.ipv4.vs.expire_quiescent_template", "0"},
                                               {"net.ipv4.vs.conn_reuse_mode", "1"},
                                               {"net.ipv4.vs.conntrack", "0"},
                                               {"net.ipv4.ip_forward", "0"},
                                               {"net.ipv4.conf.all.send_redirects", "1"},
                                               {"net.ipv6.conf.all.forwarding", "0"},
                                               {"net.ipv4.conf.default.send_redirects", "1"},
                                               {"net.ipv6.conf.eth0.accept_ra", "1"},
                                               {"net.ipv4.conf.eth0.send_redirects", "1"}};
    std::vector<Sync> running;
    Timeouts current_timeouts{seconds{900}, seconds{120}, seconds{300}};
    std::function<int(const Step&)> refuse;  // an errno
    std::function<void()> after_step;
    std::function<void()> after_rules;
    std::vector<Step> done;
    std::size_t reads = 0;
    std::size_t rules_set = 0;

  private:
    Result<void> one(const Step& step) {
        const auto service = table.find(step.service);
        const bool there = service != table.end();
        const auto has = [&] {
            const auto& list = service->second.destinations;
            return std::any_of(list.begin(), list.end(),
                               [&](const Destination& one) { return one.key == step.destination.key; });
        };
        switch (step.kind) {
            case Step::Kind::add_service:
                if (there) return {};  // EEXIST, which counts as done and changes nothing
                break;
            case Step::Kind::set_service:
                if (!there) return Error{"no such service", "", ESRCH};
                break;
            case Step::Kind::add_destination:
                if (!there) return Error{"no such service", "", ESRCH};
                if (has()) return {};
                break;
            case Step::Kind::set_destination:
                if (!there || !has()) return Error{"no such destination", "", ENOENT};
                break;
            case Step::Kind::delete_destination:
            case Step::Kind::delete_service:
                break;
        }
        apply(step, table);
        return {};
    }
};

}  // namespace lbcluster::forward::test
