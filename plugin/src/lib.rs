//! LV2 and LADSPA shells around the engine.
