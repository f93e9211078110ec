"""The influence of the parameters on the state, carried forward in time: M_t = ∂h_t/∂w = F_t + J_t M_{t−1}."""
