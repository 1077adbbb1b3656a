"""The product's daemon, that looks every other second where it would look every five or thirty."""

from dagster._daemon import controller, sensor

from audio_assets.daemon import main

sensor.MIN_INTERVAL_LOOP_TIME = 2
controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 2

if __name__ == "__main__":
    main()
