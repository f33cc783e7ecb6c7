// An IpAddress and a port as the socket calls want them.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstring>

#include "lbcluster/base/address.hpp"

namespace lbcluster::health {

class SocketAddress {
  public:
    SocketAddress(const IpAddress& address, std::uint16_t port) {
        const auto bytes = address.bytes();
        if (address.is_v4()) {
            v4_.sin_family = AF_INET;
            v4_.sin_port = htons(port);
            std::memcpy(&v4_.sin_addr, bytes.data(), bytes.size());
        } else {
            v6_ = {};
            v6_.sin6_family = AF_INET6;
            v6_.sin6_port = htons(port);
            std::memcpy(&v6_.sin6_addr, bytes.data(), bytes.size());
        }
    }
    [[nodiscard]] int family() const { return v4_.sin_family; }
    [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&v4_); }
    [[nodiscard]] socklen_t bytes() const { return family() == AF_INET ? sizeof v4_ : sizeof v6_; }

  private:
    union {
        sockaddr_in v4_{};
        sockaddr_in6 v6_;
    };
};

}  // namespace lbcluster::health
