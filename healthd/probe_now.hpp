// `lbcluster check`: servers are asked once, now, with a transcript, beside all other probes; no verdict changes. Each
// server has the timeout of its check; at most `at_once` servers are asked at a time. All leaves of a composite are
// asked, also those that do not matter any more.
//
// One thread: the io_context's. Destroying it stops everything, and `done` is not called any more.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "healthd/core/target.hpp"
#include "healthd/probes/factory.hpp"
#include "lbcluster/state.pb.h"

namespace lbcluster::health {

class ProbeNow {
  public:
    static constexpr std::size_t at_once = 16;
    // Of all reports together, so that the answer fits in a frame of the bus.
    static constexpr std::size_t bytes_max = 250UL * 1024;

    struct Subject {
        bus::ProbeReport report;  // service, server, address and port
        Target target;
    };
    using Done = std::function<void(std::vector<bus::ProbeReport>)>;  // in the order of the subjects

    ProbeNow(boost::asio::io_context& io, ProbeFactory& factory, std::vector<Subject> subjects, Done done);
    ~ProbeNow();
    ProbeNow(const ProbeNow&) = delete;
    ProbeNow& operator=(const ProbeNow&) = delete;

    void start();

    // Shortens reports until they have bytes_max at most, transcripts first, those of healthy servers before others.
    // What was left out, for people; empty: nothing.
    static std::string fit(std::vector<bus::ProbeReport>& reports);

  private:
    class Round;
    void begin_next();
    void ended(std::size_t index);

    boost::asio::io_context& io_;
    ProbeFactory& factory_;
    std::vector<Subject> subjects_;
    Done done_;
    std::vector<std::unique_ptr<Round>> rounds_;
    std::size_t next_ = 0;
    std::size_t ended_ = 0;
};

}  // namespace lbcluster::health
