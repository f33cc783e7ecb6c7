#include "tests/lab/lab.hpp"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>

namespace lbcluster::lab {

namespace {

struct HostPlan {
    const char* name;
    unsigned number;     // last part of its addresses
    bool heartbeat_net;  // has eth1
};
constexpr std::array<HostPlan, 8> plan{{{"gw", 1, false},
                                        {"lb1", 11, true},
                                        {"lb2", 12, true},
                                        {"rs1", 21, false},
                                        {"rs2", 22, false},
                                        {"relay", 50, true},
                                        {"client", 100, false},
                                        {"obs", 250, false}}};

const HostPlan& plan_of(const std::string& name) {
    for (const HostPlan& host : plan)
        if (name == host.name) return host;
    fail("no host " + name + " in the lab");
}

std::string cable_lines(const HostPlan& host, const std::string& interface) {
    const std::string port = std::string(host.name) + "." + interface;
    return "link add " + port + " type veth peer name " + interface + " netns " + host.name + " address " +
           Lab::mac(host.name, interface) + "\nlink set " + port + " master " + (interface == "eth0" ? "lan" : "hb") +
           " up\n";
}

std::string address_lines(const HostPlan& host, const std::string& interface) {
    const std::string number = std::to_string(host.number);
    if (interface == "eth1") return "link set eth1 up\naddr add 10.78.0." + number + "/24 dev eth1\n";
    std::string lines = "link set eth0 up\naddr add 10.77.0." + number + "/24 dev eth0\naddr add fd77::" + number +
                        "/64 dev eth0 nodad\n";
    if (std::string("gw") != host.name) lines += "route replace default via 10.77.0.1 dev eth0\n";
    return lines;
}

void quiet_ipv6() {
    for (const char* scope : {"all", "default"}) {
        const std::string folder = std::string("/proc/sys/net/ipv6/conf/") + scope + "/";
        for (const auto& [name, value] : {std::pair{"accept_dad", "0"}, {"dad_transmits", "0"}, {"accept_ra", "0"}}) {
            FILE* file = std::fopen((folder + name).c_str(), "we");
            if (file == nullptr) fail_errno(folder + name);
            std::fputs(value, file);
            std::fclose(file);
        }
    }
}

}  // namespace

const std::vector<std::string>& Lab::host_names() {
    static const std::vector<std::string> names = [] {
        std::vector<std::string> list;
        for (const HostPlan& host : plan) list.emplace_back(host.name);
        return list;
    }();
    return names;
}

std::string Lab::mac(const std::string& host, const std::string& interface) {
    std::array<char, 18> text{};
    std::snprintf(text.data(), text.size(), "02:00:0a:%02x:00:%02x", interface == "eth0" ? 77U : 78U,
                  plan_of(host).number);
    return text.data();
}

Lab::Lab() {
    hosts_["switch"] = std::make_unique<Namespace>("switch");
    for (const HostPlan& host : plan) {
        hosts_[host.name] = std::make_unique<Namespace>(host.name);
        hosts_[host.name]->run(quiet_ipv6);
    }
    std::string lines =
        "link add lan type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set lan up\n"
        "link add hb type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set hb up\n";
    for (const HostPlan& host : plan) {
        lines += cable_lines(host, "eth0");
        if (host.heartbeat_net) lines += cable_lines(host, "eth1");
    }
    ip("switch", lines);
    must_run(&this->host("switch"), {"nft", "-f", "-"},
             "table bridge lab {\n set off { type ifname; }\n chain forward { type filter hook forward priority 0; "
             "policy accept;"
             " iifname @off drop; oifname @off drop; }\n}\n");
    for (const HostPlan& host : plan)
        ip(host.name, address_lines(host, "eth0") + (host.heartbeat_net ? address_lines(host, "eth1") : ""));
    this->host("switch").run([this] { switch_socket_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0); });
    if (switch_socket_ < 0) fail_errno("socket");
}

Lab::~Lab() { ::close(switch_socket_); }

const Namespace& Lab::host(const std::string& name) const {
    const auto found = hosts_.find(name);
    if (found == hosts_.end()) fail("no host " + name + " in the lab");
    return *found->second;
}

void Lab::kill_processes(const std::string& host) {
    static_cast<void>(this->host(host));  // throws when there is none
    hosts_.at(host)->kill_all();
}

void Lab::ip(const std::string& host, const std::string& batch) const {
    must_run(&this->host(host), {"ip", "-batch", "-"}, batch);
}

void Lab::cable(const std::string& host, const std::string& interface, bool plugged) {
    ifreq request{};
    const std::string port = host + "." + interface;
    port.copy(request.ifr_name, IFNAMSIZ - 1);
    if (::ioctl(switch_socket_, SIOCGIFFLAGS, &request) != 0) fail_errno(port);
    const int flags = request.ifr_flags;
    request.ifr_flags = static_cast<short>(plugged ? flags | IFF_UP : flags & ~IFF_UP);
    if (::ioctl(switch_socket_, SIOCSIFFLAGS, &request) != 0) fail_errno(port);
}

void Lab::cut_off(const std::string& host, bool cut) {
    must_run(
        &this->host("switch"), {"nft", "-f", "-"},
        std::string(cut ? "add" : "delete") + " element bridge lab off { " + host + ".eth0, " + host + ".eth1 }\n");
}

void Lab::drop(const std::string& host, const std::string& interface, const std::string& match, unsigned percent) {
    const std::string table = "lab_" + interface;
    std::string rules;
    if (drop_tables_[host].insert(table).second) {
        rules = "table netdev " + table + " {}\nadd chain netdev " + table +
                " in { type filter hook ingress device \"" + interface + "\" priority -400; policy accept; }\n";
    }
    rules += "add rule netdev " + table + " in " + match;
    if (percent < 100) rules += " numgen random mod 100 < " + std::to_string(percent);
    must_run(&this->host(host), {"nft", "-f", "-"}, rules + " drop\n");
}

void Lab::heal(const std::string& host) {
    std::string rules;
    for (const auto& table : drop_tables_[host]) rules += "delete table netdev " + table + "\n";
    drop_tables_[host].clear();
    if (!rules.empty()) must_run(&this->host(host), {"nft", "-f", "-"}, rules);
}

void Lab::remove_interface(const std::string& host, const std::string& interface) {
    ip("switch", "link del " + host + "." + interface + "\n");
}

void Lab::restore_interface(const std::string& host, const std::string& interface) {
    ip("switch", cable_lines(plan_of(host), interface));
    ip(host, address_lines(plan_of(host), interface));
}

void Lab::reset_addresses(const std::string& host) {
    const HostPlan& what = plan_of(host);
    std::string lines = "addr flush dev eth0 scope global\nneigh flush dev eth0\n" + address_lines(what, "eth0");
    if (what.heartbeat_net)
        lines += "addr flush dev eth1 scope global\nneigh flush dev eth1\n" + address_lines(what, "eth1");
    ip(host, lines);
}

std::set<std::string> Lab::addresses(const std::string& host) const {
    std::set<std::string> found;
    this->host(host).run([&] {
        ifaddrs* list = nullptr;
        if (::getifaddrs(&list) != 0) fail_errno("getifaddrs");
        for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
            std::array<char, INET6_ADDRSTRLEN> text{};
            if (entry->ifa_addr == nullptr) continue;
            if (entry->ifa_addr->sa_family == AF_INET)
                ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(entry->ifa_addr)->sin_addr, text.data(),
                            text.size());
            else if (entry->ifa_addr->sa_family == AF_INET6)
                ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(entry->ifa_addr)->sin6_addr, text.data(),
                            text.size());
            else continue;
            found.insert(text.data());
        }
        ::freeifaddrs(list);
    });
    return found;
}

bool Lab::holds(const std::string& host, const std::string& address) const { return addresses(host).contains(address); }

}  // namespace lbcluster::lab
