// Tells people and programs what changed (OP-10): the shell around Desk. Webhooks and mail by libcurl on threads of
// their own, commands as children under a warden; nothing of it holds up the daemon's loop. It runs in healthd, so
// heartbeatd and a take-over know nothing of it.
//
// A command gets no arguments. Its environment, beside that of every program we run (probes/warden.hpp):
// LBCLUSTER_EVENT (change or state), LBCLUSTER_CHANNEL, LBCLUSTER_NODE, LBCLUSTER_ACTIVITY, LBCLUSTER_BEFORE (both
// empty without news of the role), LBCLUSTER_SUMMARY. Its standard input is the JSON of message.hpp.
//
// Everything is called, and calls back, on the io_context's thread.
#pragma once

#include <lbcluster/state.pb.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "healthd/notify/desk.hpp"
#include "healthd/notify/transfer.hpp"
#include "healthd/probes/program.hpp"

namespace lbcluster::health {

class Notifier {
  public:
    // Tells nobody before configure().
    explicit Notifier(boost::asio::io_context& io);
    ~Notifier();  // what is under way is dropped
    Notifier(const Notifier&) = delete;
    Notifier& operator=(const Notifier&) = delete;

    // The configuration in force. Has to come before the servers that it names.
    void configure(NotifySettings settings);
    // A server's health as it is published; cheap if nothing of it changed.
    void on_server(const bus::ServerHealth& health);
    // What heartbeatd says of this node.
    void on_role(const bus::NodeStatus& node);

    // One for each channel that does not get its messages: `notify-LABEL`.
    [[nodiscard]] std::vector<bus::Alarm> alarms() const;

  private:
    struct Command {
        Command(boost::asio::io_context& io, Wardens& wardens) : program(io, wardens), deadline(io) {}
        ProgramRun program;
        boost::asio::steady_timer deadline;
    };

    void turn();
    void arm();
    void send(const Desk::Dispatch& dispatch);
    void send_webhook(const config::Notification& channel, const Message& message);
    void send_mail(const config::Notification& channel, const Message& message);
    void run_command(const config::Notification& channel, const Message& message);
    void transfer(const config::Notification& channel, std::unique_ptr<Transfer> transfer, bool http);
    void done(const std::string& channel, const std::string& error);
    void done_later(const std::string& channel, const std::string& error);

    boost::asio::io_context& io_;
    Desk desk_;
    Transfers transfers_;
    Wardens wardens_;
    std::map<std::string, std::unique_ptr<Command>> commands_;  // by channel
    boost::asio::steady_timer timer_;
    Instant armed_for_ = Instant::max();
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // handlers look at it first
    std::uint64_t sent_ = 0;
};

}  // namespace lbcluster::health
