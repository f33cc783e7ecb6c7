// The `expect` part of a scenario: looked at in their moment, or at the end.
#pragma once

#include <string>
#include <vector>

#include "sim/run/recorder.hpp"
#include "sim/run/service_watch.hpp"

namespace lbcluster::sim {

struct Failure;

class Expectations {
  public:
    Expectations(World& world, const ServiceWatch& service, Recorder& recorder)
        : world_(world), service_(service), recorder_(recorder) {}
    void start();
    std::vector<Failure> finish();

  private:
    void look(const Expectation& expect);
    void fail(Duration at, const std::string& what);

    World& world_;
    const ServiceWatch& service_;
    Recorder& recorder_;
    std::vector<Failure> failures_;
};

}  // namespace lbcluster::sim
