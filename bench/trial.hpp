// One contender on the lab's two nodes: started, struck, watched by a client that asks every millisecond, repaired.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bench/contenders.hpp"
#include "tests/lab/observer.hpp"
#include "tests/lab/witness.hpp"

namespace lbcluster::bench {

// What happens to the active node. `..._kernel`: what the kernel forwards goes on; `..._service`: what answered there
// has died or stopped with the rest.
enum class Fault { gone, cable, killed_kernel, killed_service, frozen_kernel, frozen_service, planned };
inline const std::vector<std::pair<Fault, std::string>> all_faults{{Fault::gone, "gone"},
                                                                   {Fault::cable, "cable"},
                                                                   {Fault::killed_kernel, "killed"},
                                                                   {Fault::killed_service, "killed-service"},
                                                                   {Fault::frozen_kernel, "frozen"},
                                                                   {Fault::frozen_service, "frozen-service"},
                                                                   {Fault::planned, "planned"}};

struct Sample {
    double first_ms = 0;  // the gap: 0 when no request was lost
    double last_ms = 0;   // of the last address's client
    double noise_ms = 0;  // what the machine kept a processor, or the client, from working meanwhile
    // Announcements of the node that took over: from the claim (if it tells), and from the first one, until each
    // address has had one; how many there were in the first second.
    std::optional<double> claim_to_last_ms;
    double first_to_last_ms = 0;
    std::size_t in_first_second = 0;
};

class Trial {
  public:
    Trial(lab::Lab& lab, const Setup& setup, std::size_t addresses);
    ~Trial();
    Trial(const Trial&) = delete;
    Trial& operator=(const Trial&) = delete;

    // Empty: nobody took over. Afterwards nothing is broken any more.
    std::optional<Sample> strike(Fault fault);

    // From nothing: lb1 serves.
    void restart();
    void strike_down(const std::string& node, Fault fault);
    void repair(const std::string& node, Fault fault);
    // Waits until one node serves and the other one knows it, and a little longer; who serves. A peer that does not
    // get there is started anew, once.
    std::string settle();
    [[nodiscard]] lab::Lab& lab() { return lab_; }
    [[nodiscard]] Contender& contender() { return *contender_; }
    [[nodiscard]] const Setup& setup() const { return setup_; }

  private:
    void start_all();
    void kill(const std::string& node);
    std::string who_serves();
    [[nodiscard]] lab::Nanoseconds patience() const;

    lab::Lab& lab_;
    const Setup setup_;
    const std::vector<std::string> addresses_;
    std::unique_ptr<Contender> contender_;
};

}  // namespace lbcluster::bench
