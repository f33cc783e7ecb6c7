// One life of heartbeatd on a simulated machine: the shell around the very Core that heartbeatd runs. It does what
// heartbeat/daemon.cpp does, with the modelled kernel instead of sockets: reads everything that waits, lets the core
// decide, carries out. A new process is a new object.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "heartbeat/core/core.hpp"
#include "heartbeat/setup.hpp"
#include "sim/node/keeper.hpp"
#include "sim/node/observer.hpp"
#include "sim/node/simulated_tag.hpp"
#include "sim/world/machine.hpp"
#include "sim/world/serial_line.hpp"

namespace lbcluster::sim {

class Daemon {
  public:
    // What a process gets from outside, and whom it calls.
    struct Outside {
        Machine& machine;
        Node& node;
        Observer& observer;
        SerialLine* serial = nullptr;  // and which end of it
        std::size_t serial_end = 0;
    };
    struct Costs {
        Duration wakeup{60us};
        Duration store{2ms};
        Keeper::Costs addresses;
    };

    Daemon(const Outside& outside, heartbeat::Setup setup, const Costs& costs, Random& random);
    ~Daemon();
    Daemon(const Daemon&) = delete;
    Daemon& operator=(const Daemon&) = delete;

    [[nodiscard]] const heartbeat::Core& core() const { return *core_; }
    [[nodiscard]] const heartbeat::Setup& setup() const { return setup_; }
    [[nodiscard]] bool stopped() const { return stopped_; }
    // Neither stopped, starved nor on a machine that stands still.
    [[nodiscard]] bool runs() const { return !stopped_ && starved_ == Duration{0} && machine_.works(); }

    // ---- what is done to it ----
    void command(heartbeat::CommandKind kind, bool force);
    void terminate();  // SIGTERM
    void stop();       // SIGSTOP
    void go_on();      // SIGCONT, or the machine goes on
    void starve(Duration every);
    void set_costs(const Costs& costs);
    void reload(const heartbeat::Setup& next);
    void disk_full(bool on) { disk_full_ = on; }
    // A datagram into the socket of a link, as if the network had brought it.
    void inject(std::uint32_t link, ByteView datagram);
    [[nodiscard]] bus::NodeStatus status() const;

  private:
    struct Waiting {
        std::uint32_t link = 0;
        bool noise = false;
        Bytes data;
    };

    void open_sockets();
    void on_udp(const IpAddress& from, const IpAddress& to, ByteView payload);
    void receive(std::uint32_t link, ByteView payload, bool noise);
    void on_raw(std::size_t interface, ByteView frame);
    void on_echo_reply(const net::Echo& echo);
    void on_report(const heartbeat::AddressReport& report);

    void request_turn();
    void turn();
    void drain();
    void on_datagram(const Waiting& waiting);
    void on_frame(std::size_t interface, ByteView frame);
    void tell_interfaces();
    void arm();

    void carry_out();
    void act(const heartbeat::SendHeartbeat& send);
    void act(const heartbeat::SetAddresses& set);
    void act(const heartbeat::PermitLease& permit);
    void act(const heartbeat::Announce& announce);
    void act(const heartbeat::SendPing& ping);
    void act(const heartbeat::SendProbe& probe);
    void act(const heartbeat::StoreTerm& store);
    void act(const heartbeat::StoreStandby& store);
    void act(const heartbeat::Note& note);
    void act(const heartbeat::Answer& answer);
    void act(const heartbeat::Restart& restart);
    void act(const heartbeat::Stop& stop);

    [[nodiscard]] Keeper::Target target() const;
    [[nodiscard]] heartbeat::AnnounceSchedule::Settings announce_settings() const;
    void append_echo(const IpAddress& ip, std::size_t interface);

    Machine& machine_;
    Node& node_;
    Observer& observer_;
    SerialLine* serial_;
    std::size_t serial_end_;
    heartbeat::Setup setup_;
    Costs costs_;
    SimulatedTag tag_;
    Keeper keeper_;
    std::unique_ptr<heartbeat::Core> core_;
    heartbeat::Activity activity_ = heartbeat::ACTIVITY_STARTING;
    heartbeat::Actions actions_;
    heartbeat::Heartbeat received_;

    // What waits in the sockets.
    std::deque<Waiting> datagrams_;
    std::deque<std::pair<std::size_t, Bytes>> frames_;
    std::deque<std::size_t> ping_replies_;
    std::deque<heartbeat::AddressReport> reports_;
    std::deque<std::function<void()>> posted_;
    bool interfaces_dirty_ = true;

    // Address probes and pings, as heartbeat/net/address_probe and pinger.
    struct Probed {
        Instant at{};
        std::optional<MacAddress> last_mac;
        std::uint16_t echo_sequence = 0;
    };
    std::map<IpAddress, Probed> probed_;
    std::uint16_t echo_id_;
    std::uint16_t ping_id_;
    std::uint16_t sequence_ = 0;
    std::map<std::uint16_t, std::size_t> open_pings_;  // sequence -> index of the ping node

    std::optional<heartbeat::SetAddresses> wanted_;
    Instant permit_{};
    std::uint64_t next_command_ = 1;
    heartbeat::Restraint restraint_;
    bool stopped_ = false;
    bool disk_full_ = false;
    bool turning_ = false;
    Duration starved_{0};
    Instant last_turn_{};
    Timer deadline_;
    Timer soon_;
    Timer store_;
    Timer end_;
};

}  // namespace lbcluster::sim
