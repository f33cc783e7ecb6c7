// Who keeps floating IPs alive on lb1 and lb2 of the lab: ours, keepalived and Linux-HA heartbeat behind one face, each
// configured in its own language for the same addresses.
//
// All processes of a node are in its host's pid namespace, so a fault means all of them, whoever started them. What
// should not fail throws, with the reason.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bench/usage.hpp"
#include "tests/lab/lab.hpp"
#include "tests/lab/prober.hpp"

namespace lbcluster::bench {

inline constexpr const char* first_address = "10.77.0.200";  // what the client asks
inline constexpr const char* last_address = "10.99.3.250";   // the last one, of several
std::vector<std::string> floating_addresses(std::size_t count);

inline std::string other(const std::string& node) { return node == "lb1" ? "lb2" : "lb1"; }

enum class Product { ours, keepalived, heartbeat };

// One product with one set of timers.
struct Setup {
    Product product = Product::ours;
    std::string name;               // "keepalived, 1 s"
    std::string timers;             // in its own language, one a line
    bool two_links = false;         // the heartbeat network beside the LAN
    std::size_t addresses_max = 1;  // with how many it is measured, at most
};
// In the order of the tables.
std::vector<Setup> all_setups();
std::string name_of(Product product);
std::string version_of(Product product);           // empty: it is not installed
std::string configuration_of(const Setup& setup);  // with one address, and the words that start it
std::string heartbeats_of(Product product);        // what they look like to nftables

class Contender {
  public:
    virtual ~Contender() = default;
    Contender(const Contender&) = delete;
    Contender& operator=(const Contender&) = delete;

    virtual void start(const std::string& node) = 0;
    // Its processes on the node are about to be killed: nothing starts them again.
    virtual void forget(const std::string& node) = 0;
    // As after a boot: what it kept in /run is gone.
    virtual void clean(const std::string& node) = 0;
    // The other node takes over because somebody wants it.
    virtual void hand_over(const std::string& from) = 0;
    // Beside the addresses, which the caller looks at: both nodes know each other, and nothing is under way.
    [[nodiscard]] virtual bool settled(const std::string& active) = 0;
    // One floating IP more, in this node's configuration alone; false: without a restart it cannot.
    [[nodiscard]] virtual bool add_address(const std::string& node) = 0;
    // When it decided to serve, last time, by the wall clock; if it tells.
    [[nodiscard]] virtual std::optional<std::int64_t> claimed_ns(const std::string& /*node*/) { return std::nullopt; }
    [[nodiscard]] virtual lab::EchoService& service() = 0;
    [[nodiscard]] virtual std::string log(const std::string& node) = 0;

  protected:
    Contender() = default;
};
std::unique_ptr<Contender> make(lab::Lab& lab, const Setup& setup, std::size_t addresses);

// Processes of a host of the lab, its first one aside.
std::vector<pid_t> processes_of(const std::string& host);
void signal_all(const std::string& host, int number);
Usage usage_of_host(const std::string& host);

}  // namespace lbcluster::bench
