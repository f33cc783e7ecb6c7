#include "bench/spread.hpp"

#include <algorithm>
#include <unordered_map>

namespace lbcluster::bench {

using std::chrono::nanoseconds;

Spread spread_of(std::vector<Arrival>& arrivals, nanoseconds begin, nanoseconds end) {
    constexpr nanoseconds second = std::chrono::seconds(1);
    Spread out;
    std::sort(arrivals.begin(), arrivals.end(), [](const Arrival& a, const Arrival& b) { return a.at < b.at; });
    std::vector<std::size_t> windows(static_cast<std::size_t>((end - begin) / Spread::window));
    std::unordered_map<std::uint32_t, nanoseconds> last;
    std::size_t oldest = 0;
    for (std::size_t i = 0; i < arrivals.size(); ++i) {
        const Arrival& one = arrivals[i];
        if (one.at >= end) break;
        if (one.at < begin) {
            oldest = i + 1;
            continue;
        }
        ++out.checks;
        while (one.at - arrivals[oldest].at >= Spread::window) ++oldest;
        out.most = std::max(out.most, i - oldest + 1);
        ++out.by_phase[static_cast<std::size_t>((one.at - begin) % second * Spread::phases / second)];
        const auto window = static_cast<std::size_t>((one.at - begin) / Spread::window);
        if (window < windows.size()) ++windows[window];
        const auto [before, is_first] = last.try_emplace(one.target, one.at);
        if (is_first) continue;
        out.longest_gap = std::max(out.longest_gap, one.at - before->second);
        before->second = one.at;
    }
    out.mean = static_cast<double>(out.checks) * static_cast<double>(nanoseconds(Spread::window).count()) /
               static_cast<double>((end - begin).count());
    for (const std::size_t load : windows) {
        const double share = out.mean > 0 ? 100.0 * static_cast<double>(load) / out.mean : 0;
        const auto bound = std::find_if(Spread::load_bounds.begin(), Spread::load_bounds.end(),
                                        [&](unsigned above) { return share < above; });
        ++out.by_load[static_cast<std::size_t>(bound - Spread::load_bounds.begin())];
    }
    return out;
}

}  // namespace lbcluster::bench
