// One node of the pair: a machine, its disk (the stored term and standby outlive everything), its configuration, and
// the daemon while that runs, with the supervisor that starts it again.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "sim/node/daemon.hpp"

namespace lbcluster::sim {

class Node {
  public:
    struct Costs {
        Daemon::Costs daemon;
        Duration start{20ms};  // of the daemon
        Duration boot{5s};     // from power on to the start of the daemon
        Duration lease_late{200ms};
    };
    struct Recorded {
        std::uint32_t link = 0;
        Bytes datagram;
    };

    Node(heartbeat::Setup setup, const Costs& costs, Observer& observer, std::uint64_t seed);

    [[nodiscard]] const std::string& name() const { return setup_.settings.node; }
    [[nodiscard]] Machine& machine() { return machine_; }
    [[nodiscard]] const Machine& machine() const { return machine_; }
    [[nodiscard]] const heartbeat::Setup& setup() const { return setup_; }
    [[nodiscard]] Daemon* daemon() { return daemon_.get(); }
    [[nodiscard]] const Daemon* daemon() const { return daemon_.get(); }
    void use_serial(SerialLine* line, std::size_t end) {
        serial_ = line;
        serial_end_ = end;
    }

    // ---- the machine ----
    // `booted`: the daemon starts at once, as in a machine that is up already.
    void power_on(bool booted);
    void power_off();
    void pause();
    void resume();

    // ---- the daemon ----
    void start_daemon();  // nothing if it runs
    void kill_daemon();
    // Again, so long after it has ended; empty: not.
    void restart_after(std::optional<Duration> wait) { restart_after_ = wait; }
    // SIGTERM, then the machine is switched off.
    void shut_down();
    void stop_daemon();
    void continue_daemon();
    void set_slow(Duration each);
    void starve(Duration every);
    void disk_full(bool on);
    void set_setup(heartbeat::Setup setup) { setup_ = std::move(setup); }
    void reload(heartbeat::Setup setup);

    // ---- called by the daemon ----
    void process_ended(bool restart);
    [[nodiscard]] std::uint64_t stored_term() const { return stored_term_; }
    void store_term(std::uint64_t term) { stored_term_ = term; }
    [[nodiscard]] bool stored_standby() const { return stored_standby_; }
    void store_standby(bool standby) { stored_standby_ = standby; }
    // The newest datagrams that this node sent, and that its daemon got: what an attacker could have recorded.
    void record_sent(std::uint32_t link, ByteView datagram) { record(sent_, link, datagram); }
    void record_received(std::uint32_t link, ByteView datagram) { record(received_, link, datagram); }
    [[nodiscard]] const std::deque<Recorded>& sent() const { return sent_; }
    [[nodiscard]] const std::deque<Recorded>& received() const { return received_; }
    void keep_records(bool on) { keep_records_ = on; }

    // Holds at least one floating IP in a kernel that answers.
    [[nodiscard]] bool serves() const;

  private:
    void record(std::deque<Recorded>& records, std::uint32_t link, ByteView datagram) const;

    heartbeat::Setup setup_;
    Costs costs_;
    Observer& observer_;
    Random random_;
    Machine machine_;
    SerialLine* serial_ = nullptr;
    std::size_t serial_end_ = 0;
    std::unique_ptr<Daemon> daemon_;
    std::uint64_t stored_term_ = 0;
    bool stored_standby_ = false;
    std::optional<Duration> restart_after_;
    bool off_when_ended_ = false;
    Duration slow_{0};
    Duration starved_{0};
    bool disk_full_ = false;
    bool stopped_ = false;
    bool start_missed_ = false;  // it was due while the machine stood still
    std::deque<Recorded> sent_;
    std::deque<Recorded> received_;
    bool keep_records_ = false;
    Timer start_;
    Timer bury_;
    std::unique_ptr<Daemon> dead_;
};

}  // namespace lbcluster::sim
