// HAProxy as it shall be: it runs, has the text that is wanted, and each server the state that is wanted.
//
//   none ──start──► running ──text changed: reload──► running
//     ▲ ◄── ended: started again, later each time ──┘
//     └── nothing is wanted any more: stopped
//
// Level-triggered: after every kick(), and every pace, HAProxy is asked what it has, and put right. It tells its text
// by the hash in its description, and its certificates by one in a variable. So it does not matter who started it:
// forwarderd's end leaves it as it is, and the next forwarderd finds it by its master socket and goes on with it.
//
// Certificates with other bytes, and servers with another address, go there by commands; if HAProxy refuses one, by a
// reload. The file is written after them, so that whoever loads it gets the same.
//
// A text that `haproxy -c` refuses, or that cannot be loaded, changes nothing: the old one goes on, error() says why.
// States do not wait for a reload that takes its time.
//
// Lives in one io_context's thread; a thread of its own does what blocks (files, starting, checking).
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "forwarder/core/proxy_text.hpp"
#include "forwarder/core/proxy_view.hpp"
#include "forwarder/haproxy/program.hpp"

namespace lbcluster::forward {

struct ProxyWanted {
    ProxyText text;
    std::string page;                                 // HTML of the fallback page; empty: none is needed
    std::map<std::string, std::string> certificates;  // name in their folder -> bytes
};

class Haproxy {
  public:
    struct Events {
        // One was found that somebody else has started: the states its servers have. Before anything is changed.
        std::function<void(const ProxyStates&)> found;
        std::function<void()> changed;  // anything that the functions below tell
        std::function<void(const char* kind, const char* severity, const std::string& text)> note;
    };

    Haproxy(boost::asio::io_context& io, const std::string& run_dir, Events events);
    ~Haproxy();
    Haproxy(const Haproxy&) = delete;
    Haproxy& operator=(const Haproxy&) = delete;

    void start();
    void close();
    // nullopt: no HAProxy. `states` for all servers of the text.
    void want(std::optional<ProxyWanted> wanted, const ProxyStates& states);
    void want(const ProxyStates& states);

    [[nodiscard]] bool running() const { return process_.pid > 0; }
    [[nodiscard]] pid_t pid() const { return process_.pid; }
    // Empty: the wanted text is loaded, and the states are as wanted.
    [[nodiscard]] const std::string& error() const { return error_; }
    [[nodiscard]] bool installed() const { return installed_; }
    [[nodiscard]] const ProxyInfo& info() const { return info_; }
    [[nodiscard]] const ProxyView& view() const { return view_; }  // as last read
    [[nodiscard]] const std::map<std::string, std::uint64_t>& counters() const { return counters_; }

  private:
    using Task = boost::asio::awaitable<void>;
    using Outcome = boost::asio::awaitable<Result<void>>;

    Task run();
    Task cycle();
    Task find();
    Task stop();
    Outcome check();
    Outcome start_process();
    Outcome reload();
    Outcome wait_for_text(bool reloading);
    boost::asio::awaitable<bool> look();
    Outcome put_right();
    Outcome renew_certificates();
    boost::asio::awaitable<bool> give_certificates();
    Task end_old_sessions();
    Outcome write_files();
    Outcome remove_old_certificates();
    void watch();
    void wait_for_exit();
    void on_exit();
    void kick();
    void set_error(std::string text);
    [[nodiscard]] milliseconds pace() const;
    [[nodiscard]] bool loaded() const;       // as last looked
    [[nodiscard]] bool has_renewed() const;  // as last looked
    [[nodiscard]] ProxyStates states_now() const;

    boost::asio::io_context& io_;
    const ProxyFiles files_;
    Events events_;
    boost::asio::thread_pool blocking_{1};
    boost::asio::steady_timer timer_;
    boost::asio::posix::stream_descriptor exit_;  // of the process
    ProxyProcess process_;
    bool looked_for_ = false;
    bool child_ = false;

    std::optional<ProxyWanted> wanted_;
    ProxyStates states_;
    bool decided_ = false;  // want() was called; until then everything stays as it is
    std::string program_;
    std::string checked_;  // version of the text that `haproxy -c` took
    std::string refused_;  // and of the one that it did not take, or that could not be loaded
    std::string refusal_;
    Instant try_again_{};  // a text that could not be loaded
    unsigned failures_ = 0;
    Instant started_{};
    Instant start_after_{};

    bool must_load_ = false;                           // a command for it was refused
    std::map<std::string, std::string> certificates_;  // that are loaded; empty: not known

    bool old_workers_ = false;  // there may be some
    Instant look_at_old_{};     // next time

    ProxyInfo info_;
    ProxyView view_;
    bool installed_ = true;
    std::string error_;
    std::map<std::string, std::uint64_t> counters_;
    bool settled_ = false;  // put right since the last want(): what differs now was changed by somebody else
    bool kicked_ = false;
    bool closed_ = false;
};

}  // namespace lbcluster::forward
