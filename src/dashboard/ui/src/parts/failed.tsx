// Catches what a view throws, so that the rest of the page goes on.

import { Component, type ReactNode } from 'react'
import { Trouble } from './state'

export class Fence extends Component<{ children: ReactNode }, { error: unknown }> {
  override state = { error: null as unknown }

  static getDerivedStateFromError(error: unknown) {
    return { error }
  }

  override render() {
    if (this.state.error === null) return this.props.children
    return (
      <Trouble error={this.state.error}>
        <button type="button" onClick={() => this.setState({ error: null })}>
          Show the view again
        </button>
      </Trouble>
    )
  }
}
