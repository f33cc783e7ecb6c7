// Whether what the pair needs gets through between the nodes: UDP for heartbeats, TCP for HAProxy's tables. Each node
// listens on its ports for the time of the pairing and answers; what is taken already (by a heartbeatd or an HAProxy
// that runs) is left alone. One thread, the io_context's.
#pragma once

#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/udp.hpp>
#include <memory>
#include <string>

#include "lbcluster/base/result.hpp"
#include "lbcluster/base/time.hpp"

namespace lbcluster::replicator {

class Ports : public std::enable_shared_from_this<Ports> {
  public:
    // `local` and `peer`: addresses of one family.
    static Result<std::shared_ptr<Ports>> open(const boost::asio::any_io_executor& executor, const std::string& local,
                                               const std::string& peer, std::uint16_t udp_port, std::uint16_t tcp_port);
    void close();
    [[nodiscard]] bool has_udp() const { return udp_.is_open(); }
    [[nodiscard]] bool has_tcp() const { return tcp_.is_open(); }

    // The peer listens as well. A datagram there and one back.
    boost::asio::awaitable<Result<void>> try_udp();
    boost::asio::awaitable<Result<void>> try_tcp();

  private:
    explicit Ports(const boost::asio::any_io_executor& executor)
        : executor_(executor), udp_(executor), tcp_(executor) {}
    void receive();
    void accept();

    boost::asio::any_io_executor executor_;
    boost::asio::ip::address local_;
    boost::asio::ip::address peer_;
    std::uint16_t udp_port_ = 0;
    std::uint16_t tcp_port_ = 0;
    boost::asio::ip::udp::socket udp_;
    boost::asio::ip::tcp::acceptor tcp_;
    boost::asio::ip::udp::endpoint from_;
    std::array<char, 64> space_{};
    bool answered_ = false;
};

}  // namespace lbcluster::replicator
