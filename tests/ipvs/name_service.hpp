// Who answers, and whom does it see? For tests of what lies between client and server.
//
// `NameService` answers on ports of a host, TCP (HTTP) and UDP alike, with one line: the host's name and the client's
// address as it arrived there. The answer leaves from the address that was asked. One thread of its own. ask() is its
// client.
#pragma once

#include <atomic>
#include <compare>
#include <cstdint>
#include <iosfwd>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/lab/process.hpp"

namespace lbcluster::lab {

class NameService {
  public:
    explicit NameService(const Namespace& host, const std::vector<std::uint16_t>& ports = {80});
    ~NameService();
    NameService(const NameService&) = delete;
    NameService& operator=(const NameService&) = delete;

    [[nodiscard]] std::uint64_t answered() const { return answered_; }

  private:
    struct Connection {
        std::string client;
        std::string request;
    };
    void listen(std::uint16_t port);
    void serve();
    void accept(int listener);
    void answer_datagram(int socket);
    void answer_request(int fd);

    const std::string name_;
    std::set<int> listeners_;
    std::set<int> datagram_sockets_;
    std::map<int, Connection> connections_;
    std::atomic<std::uint64_t> answered_{0};
    int epoll_ = -1;
    int wake_ = -1;
    std::thread thread_;
};

enum class Transport { tcp, udp };

struct Question {
    std::string address;
    std::uint16_t port = 80;
    Transport transport = Transport::tcp;
    std::string from = {};  // an address of the client, where it has several
    Nanoseconds limit = 5s;
};

struct Answer {
    std::string server;  // "": nobody answered in time
    std::string source;  // the client's address as the server saw it
    auto operator<=>(const Answer&) const = default;
};

// One new connection or datagram, to a NameService.
Answer ask(const Namespace& client, const Question& question);
// From the network that the calling thread is in.
Answer ask_from_here(const Question& question);
// One after the other; which answers came how often.
std::map<Answer, unsigned> ask(const Namespace& client, const Question& question, unsigned times);

std::ostream& operator<<(std::ostream& out, const Answer& answer);

}  // namespace lbcluster::lab
