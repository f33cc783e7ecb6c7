// Short ways to write services for tests.
#pragma once

#include <string>
#include <vector>

#include "forwarder/core/core.hpp"

namespace lbcluster::forward::test {

inline IpAddress ip(const std::string& text) { return *IpAddress::parse(text); }

inline ServerSpec server(const std::string& label, const std::string& address) {
    ServerSpec out;
    out.label = label;
    out.address = ip(address);
    return out;
}

// TCP, on `ports`, with servers s1, s2 ... at `servers`.
inline ServiceSpec service(const std::string& label, const std::string& address, std::vector<Ports> ports,
                           const std::vector<std::string>& servers, Method method = Method::dr) {
    ServiceSpec out;
    out.label = label;
    out.traffic.address = ip(address);
    out.traffic.tcp = true;
    out.traffic.ports = std::move(ports);
    out.method = method;
    for (const std::string& one : servers)
        out.servers.push_back(server("s" + std::to_string(out.servers.size() + 1), one));
    return out;
}

inline Verdict up() { return {Health::up, 100, Wish::none}; }
inline Verdict down() { return {Health::down, 100, Wish::none}; }

// "10.0.0.1:80 w100 direct, ..." by key
inline std::string text_of(const Service& service) {
    std::string out;
    for (const Destination& one : service.destinations) {
        out += (out.empty() ? "" : ", ") + one.key.address.to_string() + ":" + std::to_string(one.key.port) + " w" +
               std::to_string(one.weight) + " " + std::string(word_of(one.forward));
    }
    return out;
}

}  // namespace lbcluster::forward::test
